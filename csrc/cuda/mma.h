// Tensor core and asynchronous copy instructions of sm_80 in PTX, or their emulation.
#pragma once

#include "device.h"

namespace waifu2x::cuda {

#if !defined(WAIFU2X_EMULATED)

#if defined(__CUDACC__)

// A byte address in shared memory; 32 bits take half the registers of a pointer.
using Shared = std::uint32_t;

__device__ __forceinline__ Shared shared_address(void* at) {
  return static_cast<Shared>(__cvta_generic_to_shared(at));
}

// Copies 16 bytes; if not valid, writes zeros and does not read `from`.
__device__ __forceinline__ void copy_async(Shared to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from),
               "r"(valid ? 16 : 0)
               : "memory");
}

// Commits the copies of this thread since the last commit as a group, which may be empty.
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}

// Waits until at most the last kPending groups of this thread are in flight.
template <int kPending>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

// Loads four 8x8 matrices; lane i passes the address of row i % 8 of matrix i / 8.
__device__ __forceinline__ void load_matrices(std::uint32_t (&out)[4], Shared row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(row));
}
__device__ __forceinline__ void load_transposed(std::uint32_t (&out)[4], Shared row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(row));
}

// d += a (16x16) * b (16x8): products of T, sums in float.
template <class T>
__device__ __forceinline__ void multiply_accumulate(float (&d)[4], const std::uint32_t (&a)[4],
                                                    std::uint32_t b0, std::uint32_t b1);
template <>
__device__ __forceinline__ void multiply_accumulate<__half>(float (&d)[4],
                                                            const std::uint32_t (&a)[4],
                                                            std::uint32_t b0, std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void multiply_accumulate<__nv_bfloat16>(float (&d)[4],
                                                                   const std::uint32_t (&a)[4],
                                                                   std::uint32_t b0,
                                                                   std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif

#else

using Shared = unsigned char*;

inline Shared shared_address(void* at) { return static_cast<Shared>(at); }
inline void copy_async(Shared to, const void* from, bool valid) {
  emulator::copy_async(to, from, 16, valid ? 16 : 0);
}
inline void commit_copies() { emulator::commit(); }
template <int kPending>
void wait_for_copies() {
  emulator::wait(kPending);
}
inline void load_matrices(std::uint32_t (&out)[4], Shared row) {
  emulator::load_matrices(out, row, false);
}
inline void load_transposed(std::uint32_t (&out)[4], Shared row) {
  emulator::load_matrices(out, row, true);
}
template <class T>
void multiply_accumulate(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                         std::uint32_t b1) {
  emulator::multiply_accumulate<T>(d, a, {b0, b1});
}

#endif

}  // namespace waifu2x::cuda
