// The samples of a value: rows of blocked pixels, stored in full or in a ring buffer.
#pragma once

#include <cstddef>

#include "engine/kernels.h"

namespace waifu2x::engine {

struct Rows {
  float* base = nullptr;
  std::ptrdiff_t row_stride = 0;  // floats; the blocks of a row are contiguous
  int capacity = 1;               // rows in memory; row y is at y modulo capacity
  int height = 0;                 // rows of the value; rows outside read as zeros
  int left = 0;                   // the first column in memory
  int width = 0;                  // columns in memory
  const float* zeros = nullptr;   // at least `width` pixels

  float* at(int y, int block, int x) const {
    return base + (y % capacity) * row_stride +
           (static_cast<std::ptrdiff_t>(block) * width + (x - left)) * kBlock;
  }
  const float* read(int y, int block, int x) const {
    return y < 0 || y >= height ? zeros : at(y, block, x);
  }
};

}  // namespace waifu2x::engine
