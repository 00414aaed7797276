// Tiles between a picture and a network's tensors, all in device memory: the bytes of the kernels
// for processors (tiles.h of the folder above). Arguments are not checked; tiles_bindings.cpp does.
#pragma once

#include <cstdint>
#include <vector>

#include "device.h"

namespace waifu2x::cuda {

// Sides are at most this, and rows of a tensor at most kMostRow elements, so that what happens
// within a row is int arithmetic.
constexpr std::int64_t kMostSide = std::int64_t{1} << 28;
constexpr std::int64_t kMostRow = std::int64_t{1} << 30;

// Rows of interleaved samples; `stride` samples from one to the next.
template <class T>
struct Picture {
  T* data;
  std::int64_t height;
  std::int64_t width;
  std::int64_t channels;  // 1 or 3
  std::int64_t stride;
};

// Dense (count, height, width, pixel); of the elements of a pixel the first three are colors.
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

// What is seen of tile n is noted in seen[3 * n + ...]; floats as their bits, which compare like
// them. A null `seen` notes nothing.
constexpr int kBad = 0;           // how many samples were not finite
constexpr int kBrightestIn = 1;   // the largest sample of a window, without its border
constexpr int kBrightestOut = 2;  // the largest sample of a result, clamped

// Windows with top left (xs[n], ys[n]), normalized; what is outside repeats the nearest edge.
// `inset` pixels on each side of a window do not count for kBrightestIn.
template <class T, class E>
cudaError_t gather(const Picture<const T>& src, const std::vector<std::int64_t>& xs,
                   const std::vector<std::int64_t>& ys, const Tensor<E>& dst, std::int64_t inset,
                   int* seen, cudaStream_t stream);

// One rectangle of each tile into a picture, clamped and quantized. They must not overlap there.
template <class E, class T>
cudaError_t blend(const Tensor<const E>& src, const std::vector<Rect>& rects,
                  const Picture<T>& dst, int* seen, cudaStream_t stream);

// Adds one rectangle of tile `index`, weighted, to a canvas.
template <class E>
cudaError_t feather(const Tensor<const E>& src, std::int64_t index, const Rect& rect,
                    const Picture<float>& canvas, const float* weights_x, const float* weights_y,
                    int* seen, cudaStream_t stream);

template <class T>
cudaError_t quantize(const float* src, T* dst, std::int64_t count, cudaStream_t stream);

}  // namespace waifu2x::cuda
