#include <algorithm>

#include "tiles.cuh"

namespace waifu2x::cuda {
namespace {

// Some rows of a rectangle. Both offsets are to its first sample.
struct Place {
  std::int64_t src;
  std::int64_t dst;
  int rows;
  int width;
  int tile;
  int row_items;  // vectors or pixels that a row takes
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
  bool quads;  // pixels can be loaded by four elements at once
  int* seen;
  Place places[kMostPlaces];
};

// What one thread has seen of the samples.
struct Seen {
  int bad = 0;
  int brightest = 0;

  // Returns the sample clamped.
  __device__ __forceinline__ float add(float v) {
    const float unit = clamp_unit(v);
    bad += not_finite(v);
    brightest = max(brightest, __float_as_int(unit));
    return unit;
  }
  // By all threads of a block.
  __device__ __forceinline__ void note(int* seen, int tile) const {
    if (seen == nullptr) return;
    note_bad(seen + std::int64_t{3} * tile + kBad, bad);
    note_brightest(seen + std::int64_t{3} * tile + kBrightestOut, brightest);
  }
};

// How many samples a thread writes at once.
template <class T>
constexpr int kSamples = sizeof(T) == 4 ? 4 : 8;

// Three channels on both sides: a row of a rectangle is one run of samples, which threads take in
// vectors that are aligned in the destination.
template <class E, class T>
__global__ void __launch_bounds__(kThreads) blend_rows(const BlendTask<E, T> task) {
  constexpr int kCount = kSamples<T>;
  const Place& place = task.places[blockIdx.y];
  const int first = static_cast<int>(blockIdx.x * (kThreads * kUnroll) + threadIdx.x);
  Run<E, kCount> runs[kUnroll];
  T* to[kUnroll];
  unsigned valid[kUnroll];
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    valid[i] = 0;
    const int item = first + i * kThreads;
    const int row = place.by_row(item);
    if (row >= place.rows) continue;
    T* line = task.dst + place.dst + row * task.stride;
    const int skew =
        static_cast<int>(reinterpret_cast<std::uintptr_t>(line) / sizeof(T) % kCount);
    const int start = (item - row * place.row_items) * kCount - skew;
    const E* from = task.src + place.src + row * task.src_row + start;
    to[i] = line + start;
    if (start >= 0 && start + kCount <= 3 * place.width &&
        Run<E, kCount>::within(from, task.src, task.src_end)) {
      runs[i].load(from);
      valid[i] = runs[i].kAll;
    } else {
      runs[i].clear();
#pragma unroll
      for (int k = 0; k < kCount; ++k) {
        if (start + k < 0 || start + k >= 3 * place.width) continue;
        runs[i].put(k, load_bits(from + k));
        valid[i] |= 1u << k;
      }
    }
  }
  Seen seen;
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    if (valid[i] == 0) continue;
    runs[i].align();
    T out[kCount];
    // A sample that is not valid is 0, which nothing is seen of.
#pragma unroll
    for (int k = 0; k < kCount; ++k) out[k] = quantize_unit<T>(seen.add(runs[i].value(k)));
    if (valid[i] == runs[i].kAll) {
      store(to[i], out);
    } else {
#pragma unroll
      for (int k = 0; k < kCount; ++k) {
        if (valid[i] >> k & 1) to[i][k] = out[k];
      }
    }
  }
  seen.note(task.seen, place.tile);
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

// Anything else, pixel by pixel.
template <class E, class T>
__global__ void __launch_bounds__(kThreads) blend_pixels(const BlendTask<E, T> task) {
  const Place& place = task.places[blockIdx.y];
  const int first = static_cast<int>(blockIdx.x * (kThreads * kUnroll) + threadIdx.x);
  Color colors[kUnroll];
  T* to[kUnroll];
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    to[i] = nullptr;
    const int item = first + i * kThreads;
    const int row = place.by_row(item);
    if (row >= place.rows) continue;
    const std::int64_t column = item - row * place.row_items;
    to[i] = task.dst + place.dst + row * task.stride + column * task.channels;
    colors[i] = load_color(
        task.src + place.src + row * task.src_row + column * task.pixel, task.quads);
  }
  Seen seen;
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    if (to[i] == nullptr) continue;
    const auto [r, g, b] = colors[i];
    const float units[3] = {seen.add(r), seen.add(g), seen.add(b)};
    if (task.channels == 1) {
      *to[i] = quantize_unit<T>(clamp_unit(luma(r, g, b)));
    } else {
#pragma unroll
      for (int c = 0; c < 3; ++c) to[i][c] = quantize_unit<T>(units[c]);
    }
  }
  seen.note(task.seen, place.tile);
}

// As blend_pixels, but a weighted sample is added to what is there.
template <class E>
__global__ void __launch_bounds__(kThreads)
    feather_pixels(const BlendTask<E, float> task, const float* weights_x, const float* weights_y) {
  const Place& place = task.places[blockIdx.y];
  const int first = static_cast<int>(blockIdx.x * (kThreads * kUnroll) + threadIdx.x);
  Seen seen;
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    const int item = first + i * kThreads;
    const int row = place.by_row(item);
    if (row >= place.rows) continue;
    const std::int64_t column = item - row * place.row_items;
    float* to = task.dst + place.dst + row * task.stride + column * task.channels;
    const auto [r, g, b] = load_color(
        task.src + place.src + row * task.src_row + column * task.pixel, task.quads);
    seen.add(r);
    seen.add(g);
    seen.add(b);
    const float weight = __fmul_rn(__ldg(weights_y + row), __ldg(weights_x + column));
    if (task.channels == 1) {
      *to = __fadd_rn(*to, __fmul_rn(luma(r, g, b), weight));
    } else {
      to[0] = __fadd_rn(to[0], __fmul_rn(r, weight));
      to[1] = __fadd_rn(to[1], __fmul_rn(g, weight));
      to[2] = __fadd_rn(to[2], __fmul_rn(b, weight));
    }
  }
  seen.note(task.seen, place.tile);
}

template <class E, class T>
BlendTask<E, T> task_of(const Tensor<const E>& src, const Picture<T>& dst, int* seen) {
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
  task.seen = seen;
  return task;
}

template <class E, class T>
Place place_of(const Tensor<const E>& src, std::int64_t tile, const Rect& rect,
               const Picture<T>& dst, std::int64_t row_items) {
  Place place{};
  place.src = ((tile * src.height + rect.src_y) * src.width + rect.src_x) * src.pixel;
  place.dst = rect.dst_y * dst.stride + rect.dst_x * dst.channels;
  place.rows = static_cast<int>(rect.height);
  place.width = static_cast<int>(rect.width);
  place.tile = static_cast<int>(tile);
  place.row_items = static_cast<int>(row_items);
  place.by_row = Divider::by(row_items);
  return place;
}

// Calls `use` with parts of a rectangle, some rows each, whose items can be counted in int.
template <class Use>
cudaError_t in_bands(const Rect& rect, std::int64_t row_items, Use use) {
  const std::int64_t band = std::max(kMostItems / row_items, std::int64_t{1});
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
                  const Picture<T>& dst, int* seen, cudaStream_t stream) {
  BlendTask<E, T> task = task_of(src, dst, seen);
  const bool runs = src.pixel == 3 && dst.channels == 3;
  const auto kernel = runs ? blend_rows<E, T> : blend_pixels<E, T>;
  unsigned filled = 0;
  std::int64_t most = 0;  // items of the largest of those places
  const auto flush = [&] {
    if (filled == 0) return cudaSuccess;
    const dim3 grid(blocks_for(most), filled);
    filled = 0;
    most = 0;
    return launch(kernel, grid, dim3(kThreads), 0, stream, task);
  };
  for (std::size_t tile = 0; tile < rects.size(); ++tile) {
    // A row's first vector may begin before it.
    constexpr std::int64_t kCount = kSamples<T>;
    const std::int64_t width = rects[tile].width;
    const std::int64_t row_items = runs ? (3 * width + 2 * (kCount - 1)) / kCount : width;
    const cudaError_t error = in_bands(rects[tile], row_items, [&](const Rect& part) {
      task.places[filled++] =
          place_of(src, static_cast<std::int64_t>(tile), part, dst, row_items);
      most = std::max(most, part.height * row_items);
      return filled == kMostPlaces ? flush() : cudaSuccess;
    });
    if (error != cudaSuccess) return error;
  }
  return flush();
}

template <class E>
cudaError_t feather(const Tensor<const E>& src, std::int64_t index, const Rect& rect,
                    const Picture<float>& canvas, const float* weights_x, const float* weights_y,
                    int* seen, cudaStream_t stream) {
  BlendTask<E, float> task = task_of(src, canvas, seen);
  return in_bands(rect, rect.width, [&](const Rect& part) {
    task.places[0] = place_of(src, index, part, canvas, rect.width);
    return launch(feather_pixels<E>, dim3(blocks_for(part.height * rect.width)), dim3(kThreads),
                  0, stream, task, weights_x, weights_y + (part.src_y - rect.src_y));
  });
}

namespace {

constexpr int kQuad = 4;

// `aligned`: both sides, to four samples.
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
