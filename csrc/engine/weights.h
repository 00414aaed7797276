// Weights in the order in which the kernels read them.
#pragma once

#include <cstddef>

#include "engine/memory.h"

namespace waifu2x::engine {

// (out, in, k, k), wherever in memory: element (o, i, y, x) is at the sum of the strides.
struct WeightView {
  const float* data;
  int out, in, kernel;
  std::ptrdiff_t out_stride, in_stride;

  float at(int o, int i, int y, int x) const {
    return data[o * out_stride + i * in_stride + y * kernel + x];
  }
};

// Floats from one block of outputs to the next.
std::ptrdiff_t direct_stride(int in, int kernel);
std::ptrdiff_t winograd_stride(int in);

// (block, segment, channel, 16), segments as (y, x, block of inputs); outputs past the last are zeros.
Floats pack_direct(const WeightView& weight);

// (block, position, channel, 16): G g G' of every pair, computed in double, for 3x3 kernels.
Floats pack_winograd(const WeightView& weight);

// `count` numbers, then `fill` up to whole blocks.
Floats pack_vector(const float* data, int count, float fill);

}  // namespace waifu2x::engine
