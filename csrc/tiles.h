// Windows out of a picture and rectangles back into it, row by row over the kernels. The caller
// has checked every size and rectangle; coordinates of windows may lie anywhere.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels.h"

namespace waifu2x {

// Where a batch of windows of one size starts in the picture.
struct Windows {
  const std::int64_t* xs;
  const std::int64_t* ys;
  std::int64_t count;
  std::int64_t width;
  std::int64_t height;
};

// dst is (count, 3, height, width), dense. Pixels outside the picture repeat its nearest edge.
template <class T>
void gather(const Kernels& kernels, const Image<const T>& src, const Windows& windows, float* dst);

// Writes the rectangle of src at (src_x, src_y) to `to`; returns how many samples are not finite.
template <class T>
std::size_t blend(const Kernels& kernels, const Planes& src, std::int64_t src_x,
                  std::int64_t src_y, const Image<T>& dst, const Rect& to);

// The same, but adds to the canvas with weights wy[y] * wx[x].
void blend_feathered(const Kernels& kernels, const Planes& src, std::int64_t src_x,
                     std::int64_t src_y, const Image<float>& canvas, const Rect& to,
                     const float* wx, const float* wy);

// Both pictures have one shape; returns how many samples are not finite.
template <class T>
std::size_t quantize(const Kernels& kernels, const Image<const float>& src, const Image<T>& dst);

}  // namespace waifu2x
