// Copies windows out of a picture and rectangles back into a picture, row by row. Callers check
// sizes and rectangles; windows may lie anywhere, even outside the picture.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels.h"

namespace waifu2x {

// The top left corners of a batch of windows of equal size.
struct Windows {
  const std::int64_t* xs;
  const std::int64_t* ys;
  std::int64_t count;
  std::int64_t width;
  std::int64_t height;
};

// dst is a dense (count, 3, height, width). Pixels outside the picture repeat the nearest edge.
template <class T>
void gather(const Kernels& kernels, const Image<const T>& src, const Windows& windows, float* dst);

// Writes the rectangle of src at (src_x, src_y) to `to`; returns how many samples are not finite.
template <class T>
std::size_t blend(const Kernels& kernels, const Planes& src, std::int64_t src_x,
                  std::int64_t src_y, const Image<T>& dst, const Rect& to);

// Like blend, but adds to the canvas with weights wy[y] * wx[x].
void blend_feathered(const Kernels& kernels, const Planes& src, std::int64_t src_x,
                     std::int64_t src_y, const Image<float>& canvas, const Rect& to,
                     const float* wx, const float* wy);

// Both pictures have the same shape; returns how many samples are not finite.
template <class T>
std::size_t quantize(const Kernels& kernels, const Image<const float>& src, const Image<T>& dst);

}  // namespace waifu2x
