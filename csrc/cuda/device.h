// The CUDA toolkit, or for a C++ compiler with tests/gpu in its include path an emulator that runs
// the kernels on a CPU in tests. Kernels are launched by launch() instead of <<<>>>.
#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(__CUDACC__) && __has_include(<cuda_emulator.h>)
#define WAIFU2X_EMULATED
#include <cuda_emulator.h>
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#endif

namespace waifu2x::cuda {

#if !defined(WAIFU2X_EMULATED)

template <class... P>
cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared,
                   cudaStream_t stream, P... arguments) {
  void* pointers[] = {&arguments...};
  return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, block, pointers, shared,
                          stream);
}

#if defined(__CUDACC__)
// The dynamic shared memory of a block, aligned to 16 bytes.
__device__ __forceinline__ unsigned char* dynamic_shared() {
  extern __shared__ uint4 waifu2x_shared[];
  return reinterpret_cast<unsigned char*>(waifu2x_shared);
}
#endif

#else

template <class... P>
cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, cudaStream_t,
                   P... arguments) {
  return emulator::launch(kernel, grid, block, shared, arguments...);
}

inline unsigned char* dynamic_shared() {
  return static_cast<unsigned char*>(emulator::dynamic_shared());
}

#endif

// Conversions of float, half and bfloat16 under a common name.
__device__ __forceinline__ float to_float(float v) { return v; }
__device__ __forceinline__ float to_float(__half v) { return __half2float(v); }
__device__ __forceinline__ float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }

template <class T>
__device__ __forceinline__ T from_float(float v);
template <>
__device__ __forceinline__ float from_float<float>(float v) { return v; }
template <>
__device__ __forceinline__ __half from_float<__half>(float v) { return __float2half_rn(v); }
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float v) {
  return __float2bfloat16_rn(v);
}

}  // namespace waifu2x::cuda
