// Packs weights in the order in which the kernels read them.
#pragma once

#include <cstddef>

#include "engine/memory.h"

namespace waifu2x::engine {

// A strided view of an (out, in, k, k) weight.
struct WeightView {
  const float* data;
  int out, in, kernel;
  std::ptrdiff_t out_stride, in_stride;

  float at(int o, int i, int y, int x) const {
    return data[o * out_stride + i * in_stride + y * kernel + x];
  }
};

// Floats from an output block to the next.
std::ptrdiff_t direct_stride(int in, int kernel);
std::ptrdiff_t winograd_stride(int in);

// (block, segment, channel, 16) with segments (y, x, input block). Unused outputs are zeros.
Floats pack_direct(const WeightView& weight);

// (block, position, channel, 16): G g G^T of each 3x3 kernel, computed in double.
Floats pack_winograd(const WeightView& weight);

// `count` floats, padded to whole blocks with `fill`.
Floats pack_vector(const float* data, int count, float fill);

}  // namespace waifu2x::engine
