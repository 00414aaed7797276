// Non-owning views of a picture (interleaved) and of a tile (planar).
#pragma once

#include <cstddef>
#include <cstdint>

namespace waifu2x {

// A rectangle of a larger array; callers check the bounds.
struct Rect {
  std::int64_t x;
  std::int64_t y;
  std::int64_t width;
  std::int64_t height;
};

// Interleaved rows of 1 or 3 channels. The stride counts elements and may be negative.
template <class T>
struct Image {
  T* data;
  std::int64_t height;
  std::int64_t width;
  std::int64_t channels;
  std::ptrdiff_t stride;

  T* row(std::int64_t y) const { return data + y * stride; }
  T* pixel(std::int64_t x, std::int64_t y) const { return row(y) + x * channels; }
};

// Three planes, the output of a network. Strides count elements.
struct Planes {
  const float* data;
  std::int64_t height;
  std::int64_t width;
  std::ptrdiff_t plane_stride;
  std::ptrdiff_t row_stride;

  const float* row(std::int64_t plane, std::int64_t y) const {
    return data + plane * plane_stride + y * row_stride;
  }
};

}  // namespace waifu2x
