// How the executor sees the samples of one value: rows of blocked pixels, of which it may keep only
// the last few.
#pragma once

#include <cstddef>

#include "engine/kernels.h"

namespace waifu2x::engine {

struct Rows {
  float* base = nullptr;
  std::ptrdiff_t row_stride = 0;  // floats; a row holds its blocks one after another
  int capacity = 1;               // rows kept: row y lies at y modulo capacity
  int height = 0;                 // rows there are; those beyond read as zeros
  int left = 0;                   // the first column kept
  int width = 0;                  // columns kept
  const float* zeros = nullptr;   // at least width pixels

  float* at(int y, int block, int x) const {
    return base + (y % capacity) * row_stride +
           (static_cast<std::ptrdiff_t>(block) * width + (x - left)) * kBlock;
  }
  const float* read(int y, int block, int x) const {
    return y < 0 || y >= height ? zeros : at(y, block, x);
  }
};

}  // namespace waifu2x::engine
