#include <cstring>

#include "conv.h"

namespace waifu2x::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kItems = 4;  // vectors of a row per thread

// The elements of a memory access.
template <class E, int kCount>
struct Vector {
  E v[kCount];
};

template <class E, int kCount>
__device__ __forceinline__ Vector<E, kCount> load(const E* from) {
  Vector<E, kCount> out;
  if constexpr (kCount == 1) {
    out.v[0] = *from;
  } else {
    static_assert(sizeof out == sizeof(uint4));
    const uint4 packed = *reinterpret_cast<const uint4*>(from);
    std::memcpy(&out, &packed, sizeof out);
  }
  return out;
}

template <class E, int kCount>
__device__ __forceinline__ void store(E* to, const Vector<E, kCount>& vector) {
  if constexpr (kCount == 1) {
    *to = vector.v[0];
  } else {
    uint4 packed;
    std::memcpy(&packed, &vector, sizeof packed);
    *reinterpret_cast<uint4*>(to) = packed;
  }
}

// Calls change(floats, batch item, y, x, channel) for each kCount channels of each pixel.
template <int kCount, class E, class Change>
__device__ __forceinline__ void for_pixels(const Pixels<E>& pixels, int blocks, Change change) {
  const unsigned per_pixel = static_cast<unsigned>(pixels.channels / kCount);
  const unsigned per_row = per_pixel * static_cast<unsigned>(pixels.width);
  const unsigned row = blockIdx.x / static_cast<unsigned>(blocks);
  const unsigned batch_item = row / static_cast<unsigned>(pixels.height);
  E* const data = pixels.data + std::int64_t{row} * pixels.width * pixels.channels;
  const unsigned start =
      blockIdx.x % static_cast<unsigned>(blocks) * (kThreads * kItems) + threadIdx.x;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const unsigned item = start + i * kThreads;
    if (item >= per_row) return;
    const unsigned x = item / per_pixel;
    const unsigned channel = (item - x * per_pixel) * kCount;
    E* const at = data + std::int64_t{item} * kCount;
    Vector<E, kCount> vector = load<E, kCount>(at);
    float floats[kCount];
#pragma unroll
    for (int k = 0; k < kCount; ++k) floats[k] = to_float(vector.v[k]);
    change(floats, batch_item, row - batch_item * static_cast<unsigned>(pixels.height), x, channel);
#pragma unroll
    for (int k = 0; k < kCount; ++k) vector.v[k] = from_float<E>(floats[k]);
    store<E, kCount>(at, vector);
  }
}

template <class E, int kCount>
__global__ void __launch_bounds__(kThreads)
    finish_kernel(const Pixels<E> pixels, const Finish<E> task, int blocks) {
  for_pixels<kCount>(pixels, blocks, [&](float(&y)[kCount], unsigned batch_item, unsigned row,
                                         unsigned column, unsigned channel) {
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      if (task.bias != nullptr) y[k] += __ldg(task.bias + channel + k);
      // Adding zero turns -0 into +0.
      if (task.slope != nullptr && !(y[k] >= 0.0f)) {
        y[k] = y[k] * __ldg(task.slope + channel + k) + 0.0f;
      }
    }
    if (task.addend == nullptr) return;
    const std::int64_t at_row =
        std::int64_t{batch_item} * task.addend_height + row + task.addend_crop;
    const std::int64_t at_pixel = at_row * task.addend_width + column + task.addend_crop;
    const auto more = load<E, kCount>(task.addend + at_pixel * pixels.channels + channel);
#pragma unroll
    for (int k = 0; k < kCount; ++k) y[k] += to_float(more.v[k]);
  });
}

template <class E, int kCount>
__global__ void __launch_bounds__(kThreads)
    gate_kernel(const Pixels<E> pixels, const float* gates, int blocks) {
  for_pixels<kCount>(pixels, blocks, [&](float(&y)[kCount], unsigned batch_item, unsigned,
                                         unsigned, unsigned channel) {
    const float* from = gates + std::int64_t{batch_item} * pixels.channels + channel;
#pragma unroll
    for (int k = 0; k < kCount; ++k) y[k] *= __ldg(from + k);
  });
}

template <class E>
constexpr int kWide = 16 / static_cast<int>(sizeof(E));

// Calls start(blocks per row, grid).
template <class E, class Start>
cudaError_t over_rows(const Pixels<E>& pixels, Start start) {
  const int count = pixels.width * pixels.channels / (pixels.wide ? kWide<E> : 1);
  const int blocks = (count - 1) / (kThreads * kItems) + 1;
  return start(blocks, dim3(static_cast<unsigned>(pixels.batch * pixels.height * blocks)));
}

}  // namespace

template <class E>
cudaError_t finish(const Pixels<E>& pixels, const Finish<E>& task, cudaStream_t stream) {
  return over_rows(pixels, [&](int blocks, dim3 grid) {
    const auto kernel = pixels.wide ? &finish_kernel<E, kWide<E>> : &finish_kernel<E, 1>;
    return launch(kernel, grid, dim3(kThreads), 0, stream, pixels, task, blocks);
  });
}

template <class E>
cudaError_t gate(const Pixels<E>& pixels, const float* gates, cudaStream_t stream) {
  return over_rows(pixels, [&](int blocks, dim3 grid) {
    const auto kernel = pixels.wide ? &gate_kernel<E, kWide<E>> : &gate_kernel<E, 1>;
    return launch(kernel, grid, dim3(kThreads), 0, stream, pixels, gates, blocks);
  });
}

template cudaError_t finish(const Pixels<float>&, const Finish<float>&, cudaStream_t);
template cudaError_t finish(const Pixels<__half>&, const Finish<__half>&, cudaStream_t);
template cudaError_t finish(const Pixels<__nv_bfloat16>&, const Finish<__nv_bfloat16>&,
                            cudaStream_t);
template cudaError_t gate(const Pixels<float>&, const float*, cudaStream_t);
template cudaError_t gate(const Pixels<__half>&, const float*, cudaStream_t);
template cudaError_t gate(const Pixels<__nv_bfloat16>&, const float*, cudaStream_t);

}  // namespace waifu2x::cuda
