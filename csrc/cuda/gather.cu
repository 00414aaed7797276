#include <algorithm>

#include "tiles.cuh"

namespace waifu2x::cuda {
namespace {

// A band of rows of up to kMaxBands windows of equal size.
template <class T, class E>
struct GatherTask {
  const T* src;
  const T* src_end;
  std::int64_t stride;
  int height;
  int width;
  int channels;
  E* dst;
  std::int64_t step;  // elements from one window to the next
  int rows;
  int columns;
  int pixel;
  // The rows and columns that count for the maximum.
  int inner_top;
  int inner_bottom;
  int inner_left;
  int inner_right;
  int* stats;
  int total;        // items of a window: elements or chunks
  Divider by_row;   // elements or pixels of a row
  int chunk_bytes;  // of a store, for pixels of more than three elements; 0 stores single elements
  int chunks;       // of a pixel
  Divider by_chunks;
  int xs[kMaxBands];
  int ys[kMaxBands];

  __device__ __forceinline__ const T* line(int y) const {
    return src + clamp_index(y, height) * stride;
  }
};

// kCount elements of a window from `start` on. Masks: `valid` elements belong to the window,
// `counted` elements count for the maximum.
template <class T, int kCount>
struct Vector {
  PackedRun<T, kCount> run;
  int start;
  unsigned valid;
  unsigned counted;

  template <class E>
  __device__ __forceinline__ void fetch(const GatherTask<T, E>& task, int x, int y, int first) {
    start = first;
    valid = counted = 0;
    if (start >= task.total) return;
    const int length = 3 * task.columns;
    const int row = task.by_row(max(start, 0));
    const int column = start - row * length;
    const std::int64_t across = std::int64_t{3} * x + column;
    if (task.channels == 3 && column >= 0 && column + kCount <= length && across >= 0 &&
        across + kCount <= std::int64_t{3} * task.width) {
      const T* from = task.line(y + row) + across;
      if (PackedRun<T, kCount>::within(from, task.src, task.src_end)) {
        run.load(from);
        valid = run.kAll;
        if (row >= task.inner_top && row < task.inner_bottom) {
          const int before = min(max(3 * task.inner_left - column, 0), kCount);
          const int after = min(max(column + kCount - 3 * task.inner_right, 0), kCount);
          counted = run.kAll << before & run.kAll >> after;
        }
        return;
      }
    }
    fetch_each(task, x, y, row, column);
  }

  // Handles edges of the picture and vectors that continue in the next row.
  template <class E>
  __device__ __forceinline__ void fetch_each(const GatherTask<T, E>& task, int x, int y, int row,
                                             int column) {
    const int length = 3 * task.columns;
    const T* line = task.line(y + row);
    run.clear();
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (start + i >= 0 && start + i < task.total) {
        const int pixel = static_cast<int>(static_cast<unsigned>(column) / 3);
        const int channel = task.channels == 3 ? column - 3 * pixel : 0;
        const std::int64_t at = clamp_index(x + pixel, task.width);
        run.set(i, load_bits(line + at * task.channels + channel));
        valid |= 1u << i;
        if (row >= task.inner_top && row < task.inner_bottom && pixel >= task.inner_left &&
            pixel < task.inner_right) {
          counted |= 1u << i;
        }
      }
      if (++column == length) {
        column = 0;
        line = task.line(y + ++row);
      }
    }
  }

  // Returns the bits of the maximum.
  template <class E>
  __device__ __forceinline__ int write(E* dst) {
    int maximum = 0;
    if (valid == 0) return maximum;
    run.align();
    E out[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float v = run.value(i);
      const int bits = __float_as_int(v);
      if ((counted >> i & 1) && bits < kInfinity) maximum = max(maximum, bits);
      out[i] = from_float<E>(v);
    }
    if (valid == run.kAll) {
      store(dst + start, out);
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        if (valid >> i & 1) dst[start + i] = out[i];
      }
    }
    return maximum;
  }
};

// For pixels of three elements: a row of a window is a run of samples. A thread copies vectors of
// 16 bytes that are aligned in the destination.
template <class T, class E>
__global__ void __launch_bounds__(kThreads) gather_rows(const GatherTask<T, E> task) {
  constexpr int kCount = 16 / static_cast<int>(sizeof(E));
  const int window = static_cast<int>(blockIdx.y);
  E* dst = task.dst + window * task.step;
  const int skew = static_cast<int>(reinterpret_cast<std::uintptr_t>(dst) % 16 / sizeof(E));
  const int first = static_cast<int>(blockIdx.x * (kThreads * kUnroll) + threadIdx.x);
  Vector<T, kCount> vectors[kUnroll];
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    vectors[i].fetch(task, task.xs[window], task.ys[window],
                     (first + i * kThreads) * kCount - skew);
  }
  int maximum = 0;
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) maximum = max(maximum, vectors[i].write(dst));
  if (task.stats != nullptr) update_maximum(task.stats + 3 * window + kMaxIn, maximum);
}

// Stores the first kBytes of a pixel in a single access.
template <int kBytes, class E>
__device__ __forceinline__ void store_chunk(E* to, const E (&samples)[3]) {
  E out[kBytes / sizeof(E)] = {samples[0], samples[1], samples[2]};
#pragma unroll
  for (int i = 3; i < static_cast<int>(kBytes / sizeof(E)); ++i) out[i] = from_float<E>(0.0f);
  store(to, out);
}

// For pixels of more elements: a thread writes chunks. The first chunk of a pixel contains the
// samples, the others are zeros.
template <class T, class E>
__global__ void __launch_bounds__(kThreads) gather_pixels(const GatherTask<T, E> task) {
  const int window = static_cast<int>(blockIdx.y);
  const int x = task.xs[window], y = task.ys[window];
  E* dst = task.dst + window * task.step;
  const int first = static_cast<int>(blockIdx.x * (kThreads * kUnroll) + threadIdx.x);
  const int green = task.channels == 3 ? 1 : 0;
  unsigned bits[kUnroll][3];
  bool counted[kUnroll];
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    const int chunk = first + i * kThreads;
    const int pixel = task.by_chunks(chunk);
    counted[i] = false;
    bits[i][0] = bits[i][1] = bits[i][2] = 0;
    if (chunk >= task.total || chunk != pixel * task.chunks) continue;
    const int row = task.by_row(pixel);
    const int column = pixel - row * task.columns;
    const std::int64_t at = clamp_index(x + column, task.width);
    const T* from = task.line(y + row) + at * task.channels;
    bits[i][0] = load_bits(from);
    bits[i][1] = load_bits(from + green);
    bits[i][2] = load_bits(from + 2 * green);
    counted[i] = row >= task.inner_top && row < task.inner_bottom && column >= task.inner_left &&
                 column < task.inner_right;
  }
  int maximum = 0;
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    const int chunk = first + i * kThreads;
    if (chunk >= task.total) continue;
    E samples[3];
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      const float v = value_of<T>(bits[i][c]);
      const int as_int = __float_as_int(v);
      if (counted[i] && as_int < kInfinity) maximum = max(maximum, as_int);
      samples[c] = from_float<E>(v);
    }
    if (task.chunk_bytes == 16) {
      store_chunk<16>(dst + std::int64_t{chunk} * (16 / sizeof(E)), samples);
    } else if (sizeof(E) == 2 && task.chunk_bytes == 8) {
      // Float has no chunks of 8 bytes, but the branch must compile.
      store_chunk<4 * sizeof(E)>(dst + std::int64_t{chunk} * 4, samples);
    } else {
      E* to = dst + std::int64_t{chunk} * task.pixel;
      for (int c = 0; c < 3; ++c) to[c] = samples[c];
      for (int c = 3; c < task.pixel; ++c) to[c] = from_float<E>(0.0f);
    }
  }
  if (task.stats != nullptr) update_maximum(task.stats + 3 * window + kMaxIn, maximum);
}

// The widest store that divides a pixel.
int chunk_bytes(std::uintptr_t address, std::int64_t pixel_bytes, std::int64_t least) {
  for (const int bytes : {16, 8}) {
    if (bytes >= least && pixel_bytes % bytes == 0 && address % bytes == 0) return bytes;
  }
  return 0;
}

}  // namespace

template <class T, class E>
cudaError_t gather(const Picture<const T>& src, const std::vector<std::int64_t>& xs,
                   const std::vector<std::int64_t>& ys, const Tensor<E>& dst, std::int64_t inset,
                   int* stats, cudaStream_t stream) {
  GatherTask<T, E> task{};
  task.src = src.data;
  task.src_end = src.data + (src.height - 1) * src.stride + src.width * src.channels;
  task.stride = src.stride;
  task.height = static_cast<int>(src.height);
  task.width = static_cast<int>(src.width);
  task.channels = static_cast<int>(src.channels);
  task.step = dst.height * dst.width * dst.pixel;
  task.columns = static_cast<int>(dst.width);
  task.pixel = static_cast<int>(dst.pixel);
  inset = std::min(inset, kMaxSide);
  task.inner_left = static_cast<int>(inset);
  task.inner_right = static_cast<int>(std::max(dst.width - inset, std::int64_t{0}));
  const bool runs = dst.pixel == 3;
  const auto size = static_cast<std::int64_t>(sizeof(E));
  task.chunk_bytes =
      chunk_bytes(reinterpret_cast<std::uintptr_t>(dst.data), dst.pixel * size, 3 * size);
  const std::int64_t chunks = task.chunk_bytes ? dst.pixel * size / task.chunk_bytes : 1;
  task.chunks = static_cast<int>(chunks);
  task.by_chunks = Divider::by(chunks);
  task.by_row = Divider::by(runs ? 3 * dst.width : dst.width);
  const std::int64_t row_items = dst.width * (runs ? 3 : chunks);
  const std::int64_t band = std::max(kMaxItems / row_items, std::int64_t{1});
  const auto kernel = runs ? gather_rows<T, E> : gather_pixels<T, E>;
  // The first vector of a window may begin before the window.
  const std::int64_t per_thread = runs ? 16 / size : 1;

  const auto count = static_cast<std::int64_t>(xs.size());
  for (std::int64_t base = 0; base < count; base += kMaxBands) {
    const std::int64_t windows = std::min<std::int64_t>(count - base, kMaxBands);
    for (std::int64_t top = 0; top < dst.height; top += band) {
      const std::int64_t rows = std::min(band, dst.height - top);
      task.rows = static_cast<int>(rows);
      task.dst = dst.data + base * task.step + top * dst.width * dst.pixel;
      task.inner_top = static_cast<int>(inset - top);
      task.inner_bottom = static_cast<int>(dst.height - inset - top);
      task.stats = stats != nullptr ? stats + 3 * base : nullptr;
      task.total = static_cast<int>(rows * row_items);
      for (std::int64_t i = 0; i < windows; ++i) {
        // Clamping does not change the window and prevents overflow.
        task.xs[i] = static_cast<int>(std::clamp(xs[base + i], -dst.width, src.width));
        task.ys[i] = static_cast<int>(std::clamp(ys[base + i], -dst.height, src.height) + top);
      }
      const std::int64_t items = (task.total + 2 * (per_thread - 1)) / per_thread;
      const dim3 grid(blocks_for(items), static_cast<unsigned>(windows));
      const cudaError_t error = launch(kernel, grid, dim3(kThreads), 0, stream, task);
      if (error != cudaSuccess) return error;
    }
  }
  return cudaSuccess;
}

#define WAIFU2X_INSTANTIATE(T, E)                                                                \
  template cudaError_t gather<T, E>(const Picture<const T>&, const std::vector<std::int64_t>&,   \
                                    const std::vector<std::int64_t>&, const Tensor<E>&,          \
                                    std::int64_t, int*, cudaStream_t);

WAIFU2X_INSTANTIATE(std::uint8_t, float)
WAIFU2X_INSTANTIATE(std::uint8_t, __half)
WAIFU2X_INSTANTIATE(std::uint8_t, __nv_bfloat16)
WAIFU2X_INSTANTIATE(std::uint16_t, float)
WAIFU2X_INSTANTIATE(std::uint16_t, __half)
WAIFU2X_INSTANTIATE(std::uint16_t, __nv_bfloat16)
WAIFU2X_INSTANTIATE(float, float)
WAIFU2X_INSTANTIATE(float, __half)
WAIFU2X_INSTANTIATE(float, __nv_bfloat16)

#undef WAIFU2X_INSTANTIATE

}  // namespace waifu2x::cuda
