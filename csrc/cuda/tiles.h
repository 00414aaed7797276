// Copies tiles between a picture and tensors in device memory; the same bytes as the CPU kernels of
// csrc/tiles.h. tiles_bindings.cpp checks the arguments.
#pragma once

#include <cstdint>
#include <vector>

#include "device.h"

namespace waifu2x::cuda {

// Limits of a side, and of the elements of a row of a tensor: int suffices within a row.
constexpr std::int64_t kMaxSide = std::int64_t{1} << 28;
constexpr std::int64_t kMaxRow = std::int64_t{1} << 30;

// Rows of interleaved samples, `stride` samples apart.
template <class T>
struct Picture {
  T* data;
  std::int64_t height;
  std::int64_t width;
  std::int64_t channels;  // 1 or 3
  std::int64_t stride;
};

// Dense (count, height, width, pixel); the first three elements of a pixel are its color.
template <class E>
struct Tensor {
  E* data;
  std::int64_t count;
  std::int64_t height;
  std::int64_t width;
  std::int64_t pixel;
};

struct Rect {
  std::int64_t src_x;
  std::int64_t src_y;
  std::int64_t dst_x;
  std::int64_t dst_y;
  std::int64_t width;
  std::int64_t height;
};

// Statistics of tile n, stats[3 * n + ...]; not collected if stats is null. Floats are stored as
// their bits, which compare like the values.
constexpr int kNotFinite = 0;  // samples that are not finite
constexpr int kMaxIn = 1;      // the maximum of the window without its inset
constexpr int kMaxOut = 2;     // the maximum of the clamped result

// Copies windows with top left (xs[n], ys[n]), normalized; pixels outside the picture repeat the
// nearest edge. kMaxIn excludes `inset` pixels on each side of a window.
template <class T, class E>
cudaError_t gather(const Picture<const T>& src, const std::vector<std::int64_t>& xs,
                   const std::vector<std::int64_t>& ys, const Tensor<E>& dst, std::int64_t inset,
                   int* stats, cudaStream_t stream);

// Writes a rectangle of each tile to a picture, clamped and quantized. The rectangles must not
// overlap in the picture.
template <class E, class T>
cudaError_t blend(const Tensor<const E>& src, const std::vector<Rect>& rects,
                  const Picture<T>& dst, int* stats, cudaStream_t stream);

// Adds a weighted rectangle of tile `index` to a canvas.
template <class E>
cudaError_t feather(const Tensor<const E>& src, std::int64_t index, const Rect& rect,
                    const Picture<float>& canvas, const float* weights_x, const float* weights_y,
                    int* stats, cudaStream_t stream);

template <class T>
cudaError_t quantize(const float* src, T* dst, std::int64_t count, cudaStream_t stream);

}  // namespace waifu2x::cuda
