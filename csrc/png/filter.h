// PNG row filters (https://www.w3.org/TR/png-3/#9Filters). A filtered row is the difference from a
// prediction by neighboring bytes; the best of five predictors is chosen for each row.
#pragma once

#include <cstddef>
#include <cstdint>

#include "image.h"

namespace waifu2x {

// Rows of a picture. Alpha follows the color of a pixel, unless alpha is null.
template <class T>
struct PngRows {
  Image<const T> color;
  const T* alpha;
  std::ptrdiff_t alpha_stride;  // in elements

  std::size_t channels() const { return color.channels + (alpha != nullptr ? 1 : 0); }
  std::size_t row_bytes() const { return sizeof(T) * channels() * color.width; }
};

// Writes a filter type and row_bytes() filtered bytes for each row to dst, densely; 16-bit samples
// are big-endian. `above` ends with the row before the first, or is null at the top of the picture.
// Chooses the filter with the minimum sum of absolute differences, the first if equal, like libpng
// and Pillow. T is uint8_t or uint16_t. May throw std::bad_alloc.
template <class T>
void filter_png(const PngRows<T>& rows, const PngRows<T>* above, std::uint8_t* dst);

}  // namespace waifu2x
