#include <algorithm>

#include "tiles.cuh"

namespace waifu2x::cuda {
namespace {

// Some rows of a rectangle.
struct Band {
  std::int64_t src;  // offset of the first element
  std::int64_t dst;  // offset of the first sample
  int rows;
  int width;
  int tile;
  int row_items;  // vectors or pixels of a row
  Divider by_row;
};

template <class E, class T>
struct BlendTask {
  const E* src;
  const E* src_end;
  std::int64_t src_row;
  T* dst;
  std::int64_t stride;
  int channels;
  int pixel;
  bool quads;  // four elements of a pixel can be loaded in a single access
  int* stats;
  Band bands[kMaxBands];
};

// Statistics of the samples of a thread.
struct Stats {
  int not_finite_count = 0;
  int maximum = 0;

  // Returns the clamped sample.
  __device__ __forceinline__ float add(float v) {
    const float unit = clamp_unit(v);
    not_finite_count += not_finite(v);
    maximum = max(maximum, __float_as_int(unit));
    return unit;
  }
  // Called by all threads of a block.
  __device__ __forceinline__ void write(int* stats, int tile) const {
    if (stats == nullptr) return;
    add_count(stats + std::int64_t{3} * tile + kNotFinite, not_finite_count);
    update_maximum(stats + std::int64_t{3} * tile + kMaxOut, maximum);
  }
};

// Samples of a store.
template <class T>
constexpr int kSamples = sizeof(T) == 4 ? 4 : 8;

// For three channels on both sides: a row of a rectangle is a run of samples. A thread writes
// vectors that are aligned in the destination.
template <class E, class T>
__global__ void __launch_bounds__(kThreads) blend_rows(const BlendTask<E, T> task) {
  constexpr int kCount = kSamples<T>;
  const Band& band = task.bands[blockIdx.y];
  const int first = static_cast<int>(blockIdx.x * (kThreads * kUnroll) + threadIdx.x);
  PackedRun<E, kCount> runs[kUnroll];
  T* to[kUnroll];
  unsigned valid[kUnroll];
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    valid[i] = 0;
    const int item = first + i * kThreads;
    const int row = band.by_row(item);
    if (row >= band.rows) continue;
    T* line = task.dst + band.dst + row * task.stride;
    const int skew =
        static_cast<int>(reinterpret_cast<std::uintptr_t>(line) / sizeof(T) % kCount);
    const int start = (item - row * band.row_items) * kCount - skew;
    const E* from = task.src + band.src + row * task.src_row + start;
    to[i] = line + start;
    if (start >= 0 && start + kCount <= 3 * band.width &&
        PackedRun<E, kCount>::within(from, task.src, task.src_end)) {
      runs[i].load(from);
      valid[i] = runs[i].kAll;
    } else {
      runs[i].clear();
#pragma unroll
      for (int k = 0; k < kCount; ++k) {
        if (start + k < 0 || start + k >= 3 * band.width) continue;
        runs[i].set(k, load_bits(from + k));
        valid[i] |= 1u << k;
      }
    }
  }
  Stats stats;
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    if (valid[i] == 0) continue;
    runs[i].align();
    T out[kCount];
    // Invalid samples are 0 and do not change the statistics.
#pragma unroll
    for (int k = 0; k < kCount; ++k) out[k] = quantize_unit<T>(stats.add(runs[i].value(k)));
    if (valid[i] == runs[i].kAll) {
      store(to[i], out);
    } else {
#pragma unroll
      for (int k = 0; k < kCount; ++k) {
        if (valid[i] >> k & 1) to[i][k] = out[k];
      }
    }
  }
  stats.write(task.stats, band.tile);
}

struct Color {
  float r, g, b;
};

template <class E>
__device__ __forceinline__ Color load_color(const E* from, bool quads) {
  if (quads) {
    using Quad = Packed<4 * static_cast<int>(sizeof(E))>;
    const Quad quad = __ldg(reinterpret_cast<const Quad*>(from));
    if constexpr (sizeof(E) == 2) {
      return {value_of<E>(quad.x), value_of<E>(quad.x >> 16), value_of<E>(quad.y)};
    } else {
      return {value_of<E>(quad.x), value_of<E>(quad.y), value_of<E>(quad.z)};
    }
  }
  return {value_of<E>(load_bits(from)), value_of<E>(load_bits(from + 1)),
          value_of<E>(load_bits(from + 2))};
}

// The general case, pixel by pixel.
template <class E, class T>
__global__ void __launch_bounds__(kThreads) blend_pixels(const BlendTask<E, T> task) {
  const Band& band = task.bands[blockIdx.y];
  const int first = static_cast<int>(blockIdx.x * (kThreads * kUnroll) + threadIdx.x);
  Color colors[kUnroll];
  T* to[kUnroll];
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    to[i] = nullptr;
    const int item = first + i * kThreads;
    const int row = band.by_row(item);
    if (row >= band.rows) continue;
    const std::int64_t column = item - row * band.row_items;
    to[i] = task.dst + band.dst + row * task.stride + column * task.channels;
    colors[i] = load_color(
        task.src + band.src + row * task.src_row + column * task.pixel, task.quads);
  }
  Stats stats;
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    if (to[i] == nullptr) continue;
    const auto [r, g, b] = colors[i];
    const float units[3] = {stats.add(r), stats.add(g), stats.add(b)};
    if (task.channels == 1) {
      *to[i] = quantize_unit<T>(clamp_unit(luma(r, g, b)));
    } else {
#pragma unroll
      for (int c = 0; c < 3; ++c) to[i][c] = quantize_unit<T>(units[c]);
    }
  }
  stats.write(task.stats, band.tile);
}

// Like blend_pixels, but adds weighted samples to the destination.
template <class E>
__global__ void __launch_bounds__(kThreads)
    feather_pixels(const BlendTask<E, float> task, const float* weights_x, const float* weights_y) {
  const Band& band = task.bands[blockIdx.y];
  const int first = static_cast<int>(blockIdx.x * (kThreads * kUnroll) + threadIdx.x);
  Stats stats;
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    const int item = first + i * kThreads;
    const int row = band.by_row(item);
    if (row >= band.rows) continue;
    const std::int64_t column = item - row * band.row_items;
    float* to = task.dst + band.dst + row * task.stride + column * task.channels;
    const auto [r, g, b] = load_color(
        task.src + band.src + row * task.src_row + column * task.pixel, task.quads);
    stats.add(r);
    stats.add(g);
    stats.add(b);
    const float weight = __fmul_rn(__ldg(weights_y + row), __ldg(weights_x + column));
    if (task.channels == 1) {
      *to = __fadd_rn(*to, __fmul_rn(luma(r, g, b), weight));
    } else {
      to[0] = __fadd_rn(to[0], __fmul_rn(r, weight));
      to[1] = __fadd_rn(to[1], __fmul_rn(g, weight));
      to[2] = __fadd_rn(to[2], __fmul_rn(b, weight));
    }
  }
  stats.write(task.stats, band.tile);
}

template <class E, class T>
BlendTask<E, T> task_of(const Tensor<const E>& src, const Picture<T>& dst, int* stats) {
  BlendTask<E, T> task{};
  task.src = src.data;
  task.src_end = src.data + src.count * src.height * src.width * src.pixel;
  task.src_row = src.width * src.pixel;
  task.dst = dst.data;
  task.stride = dst.stride;
  task.channels = static_cast<int>(dst.channels);
  task.pixel = static_cast<int>(src.pixel);
  task.quads = src.pixel % 4 == 0 &&
               reinterpret_cast<std::uintptr_t>(src.data) % (4 * sizeof(E)) == 0;
  task.stats = stats;
  return task;
}

template <class E, class T>
Band band_of(const Tensor<const E>& src, std::int64_t tile, const Rect& rect,
               const Picture<T>& dst, std::int64_t row_items) {
  Band band{};
  band.src = ((tile * src.height + rect.src_y) * src.width + rect.src_x) * src.pixel;
  band.dst = rect.dst_y * dst.stride + rect.dst_x * dst.channels;
  band.rows = static_cast<int>(rect.height);
  band.width = static_cast<int>(rect.width);
  band.tile = static_cast<int>(tile);
  band.row_items = static_cast<int>(row_items);
  band.by_row = Divider::by(row_items);
  return band;
}

// Calls `use` with bands of rows of a rectangle, of at most kMaxItems items each.
template <class Use>
cudaError_t in_bands(const Rect& rect, std::int64_t row_items, Use use) {
  const std::int64_t band = std::max(kMaxItems / row_items, std::int64_t{1});
  for (std::int64_t top = 0; top < rect.height; top += band) {
    Rect part = rect;
    part.src_y += top;
    part.dst_y += top;
    part.height = std::min(band, rect.height - top);
    const cudaError_t error = use(part);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace

template <class E, class T>
cudaError_t blend(const Tensor<const E>& src, const std::vector<Rect>& rects,
                  const Picture<T>& dst, int* stats, cudaStream_t stream) {
  BlendTask<E, T> task = task_of(src, dst, stats);
  const bool runs = src.pixel == 3 && dst.channels == 3;
  const auto kernel = runs ? blend_rows<E, T> : blend_pixels<E, T>;
  unsigned filled = 0;
  std::int64_t most = 0;  // items of the largest band
  const auto flush = [&] {
    if (filled == 0) return cudaSuccess;
    const dim3 grid(blocks_for(most), filled);
    filled = 0;
    most = 0;
    return launch(kernel, grid, dim3(kThreads), 0, stream, task);
  };
  for (std::size_t tile = 0; tile < rects.size(); ++tile) {
    // The first vector of a row may begin before the row.
    constexpr std::int64_t kCount = kSamples<T>;
    const std::int64_t width = rects[tile].width;
    const std::int64_t row_items = runs ? (3 * width + 2 * (kCount - 1)) / kCount : width;
    const cudaError_t error = in_bands(rects[tile], row_items, [&](const Rect& part) {
      task.bands[filled++] =
          band_of(src, static_cast<std::int64_t>(tile), part, dst, row_items);
      most = std::max(most, part.height * row_items);
      return filled == kMaxBands ? flush() : cudaSuccess;
    });
    if (error != cudaSuccess) return error;
  }
  return flush();
}

template <class E>
cudaError_t feather(const Tensor<const E>& src, std::int64_t index, const Rect& rect,
                    const Picture<float>& canvas, const float* weights_x, const float* weights_y,
                    int* stats, cudaStream_t stream) {
  BlendTask<E, float> task = task_of(src, canvas, stats);
  return in_bands(rect, rect.width, [&](const Rect& part) {
    task.bands[0] = band_of(src, index, part, canvas, rect.width);
    return launch(feather_pixels<E>, dim3(blocks_for(part.height * rect.width)), dim3(kThreads),
                  0, stream, task, weights_x, weights_y + (part.src_y - rect.src_y));
  });
}

namespace {

constexpr int kQuad = 4;

// `aligned`: source and destination are aligned to four samples.
template <class T>
__global__ void __launch_bounds__(kThreads)
    quantize_dense(const float* src, T* dst, std::int64_t count, bool aligned) {
  const std::int64_t first = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kQuad;
  if (aligned && first + kQuad <= count) {
    const float4 quad = __ldg(reinterpret_cast<const float4*>(src + first));
    const float values[kQuad] = {quad.x, quad.y, quad.z, quad.w};
    T out[kQuad];
#pragma unroll
    for (int i = 0; i < kQuad; ++i) out[i] = quantize_unit<T>(clamp_unit(values[i]));
    store(dst + first, out);
    return;
  }
  for (std::int64_t i = first; i < min(first + kQuad, count); ++i) {
    dst[i] = quantize_unit<T>(clamp_unit(__ldg(src + i)));
  }
}

}  // namespace

template <class T>
cudaError_t quantize(const float* src, T* dst, std::int64_t count, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  const bool aligned = reinterpret_cast<std::uintptr_t>(src) % sizeof(float4) == 0 &&
                       reinterpret_cast<std::uintptr_t>(dst) % (kQuad * sizeof(T)) == 0;
  constexpr std::int64_t kEach = kThreads * kQuad;
  const dim3 grid(static_cast<unsigned>((count + kEach - 1) / kEach));
  return launch(quantize_dense<T>, grid, dim3(kThreads), 0, stream, src, dst, count, aligned);
}

#define WAIFU2X_INSTANTIATE(E)                                                                 \
  template cudaError_t blend<E, std::uint8_t>(const Tensor<const E>&,                          \
                                              const std::vector<Rect>&,                        \
                                              const Picture<std::uint8_t>&, int*,              \
                                              cudaStream_t);                                   \
  template cudaError_t blend<E, std::uint16_t>(const Tensor<const E>&,                         \
                                               const std::vector<Rect>&,                       \
                                               const Picture<std::uint16_t>&, int*,            \
                                               cudaStream_t);                                  \
  template cudaError_t blend<E, float>(const Tensor<const E>&, const std::vector<Rect>&,       \
                                       const Picture<float>&, int*, cudaStream_t);             \
  template cudaError_t feather<E>(const Tensor<const E>&, std::int64_t, const Rect&,           \
                                  const Picture<float>&, const float*, const float*, int*,     \
                                  cudaStream_t);

WAIFU2X_INSTANTIATE(float)
WAIFU2X_INSTANTIATE(__half)
WAIFU2X_INSTANTIATE(__nv_bfloat16)

#undef WAIFU2X_INSTANTIATE

template cudaError_t quantize<std::uint8_t>(const float*, std::uint8_t*, std::int64_t,
                                            cudaStream_t);
template cudaError_t quantize<std::uint16_t>(const float*, std::uint16_t*, std::int64_t,
                                             cudaStream_t);
template cudaError_t quantize<float>(const float*, float*, std::int64_t, cudaStream_t);

}  // namespace waifu2x::cuda
