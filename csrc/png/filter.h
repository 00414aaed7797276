// PNG's row filters. Each row of a picture is written as its difference from what its neighbors
// predict, by the one of five predictors that leaves the least for deflate to do.
#pragma once

#include <cstddef>
#include <cstdint>

#include "image.h"

namespace waifu2x {

// Rows of a picture: the color, and the alpha that follows it in every pixel, or null.
template <class T>
struct PngRows {
  Image<const T> color;
  const T* alpha;
  std::ptrdiff_t alpha_stride;  // in elements

  std::size_t channels() const { return color.channels + (alpha != nullptr ? 1 : 0); }
  std::size_t row_bytes() const { return sizeof(T) * channels() * color.width; }
};

// Writes a filter number and row_bytes() bytes for each of `rows`, densely, to dst; samples of 16
// bits come out high byte first. `above` is the last row before them, or null at the top of the
// picture. The filter is the one with the least sum of absolute differences, the first of equals,
// as libpng and Pillow choose it. T is uint8_t or uint16_t. May throw std::bad_alloc.
template <class T>
void filter_png(const PngRows<T>& rows, const PngRows<T>* above, std::uint8_t* dst);

}  // namespace waifu2x
