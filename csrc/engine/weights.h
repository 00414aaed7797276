// Packs weights in the order in which the kernels read them.
#pragma once

#include <cstddef>

#include "engine/memory.h"

namespace waifu2x::engine {

// A dense weight (out, in, k, k).
struct WeightView {
  const float* data;
  int out, in, kernel;
  int phases = 1;  // reorders outputs (channel, phase) to (phase, channel), see phase_major

  float at(int o, int i, int y, int x) const;
};

// The index in (channel, phase) order of output o in (phase, channel) order.
inline int phase_major(int o, int out, int phases) {
  return phases == 1 ? o : o % (out / phases) * phases + o / (out / phases);
}

inline float WeightView::at(int o, int i, int y, int x) const {
  const std::ptrdiff_t pair = std::ptrdiff_t{phase_major(o, out, phases)} * in + i;
  return data[(pair * kernel + y) * kernel + x];
}

// Floats from an output block to the next.
std::ptrdiff_t direct_stride(int in, int kernel);
std::ptrdiff_t winograd_stride(int in);

// (block, segment, channel, 16) with segments (y, x, input block). Unused outputs are zeros.
Floats pack_direct(const WeightView& weight);

// (block, position, channel, 16): G g G^T of each 3x3 kernel, computed in double.
Floats pack_winograd(const WeightView& weight);

// `count` floats, padded to whole blocks with `fill`; reordered by phase like a weight.
Floats pack_vector(const float* data, int count, float fill, int phases = 1);

}  // namespace waifu2x::engine
