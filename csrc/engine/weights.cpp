#include "engine/weights.h"

#include <algorithm>

#include "engine/kernels.h"
#include "engine/program.h"

namespace waifu2x::engine {
namespace {

// The transform of a kernel, by row: its values at the interpolation points, divided as the other two
// transforms expect it.
constexpr double kTransform4[6][3] = {
    {1.0 / 4, 0, 0},
    {-1.0 / 6, -1.0 / 6, -1.0 / 6},
    {-1.0 / 6, 1.0 / 6, -1.0 / 6},
    {1.0 / 24, 1.0 / 12, 1.0 / 6},
    {1.0 / 24, -1.0 / 12, 1.0 / 6},
    {0, 0, 1},
};
constexpr double kTransform6[8][3] = {
    {1, 0, 0},
    {-2.0 / 9, -2.0 / 9, -2.0 / 9},
    {-2.0 / 9, 2.0 / 9, -2.0 / 9},
    {1.0 / 90, 1.0 / 45, 2.0 / 45},
    {1.0 / 90, -1.0 / 45, 2.0 / 45},
    {1.0 / 45, 1.0 / 90, 1.0 / 180},
    {1.0 / 45, -1.0 / 90, 1.0 / 180},
    {0, 0, 1},
};

void transform(const WeightView& weight, const double (*rows)[3], int size, int o, int i, float* to,
               std::ptrdiff_t position_stride) {
  double half[kLargestTileIn][3];
  for (int u = 0; u < size; ++u) {
    for (int x = 0; x < 3; ++x) {
      half[u][x] = 0;
      for (int y = 0; y < 3; ++y) {
        half[u][x] += rows[u][y] * static_cast<double>(weight.at(o, i, y, x));
      }
    }
  }
  for (int u = 0; u < size; ++u) {
    for (int v = 0; v < size; ++v) {
      double sum = 0;
      for (int x = 0; x < 3; ++x) sum += half[u][x] * rows[v][x];
      to[(u * size + v) * position_stride] = static_cast<float>(sum);
    }
  }
}

}  // namespace

std::ptrdiff_t direct_stride(int in, int kernel) {
  return static_cast<std::ptrdiff_t>(kernel) * kernel * in * kBlock;
}

std::ptrdiff_t winograd_stride(int in, int tile) {
  return static_cast<std::ptrdiff_t>(positions_of(tile)) * in * kBlock;
}

Floats pack_direct(const WeightView& weight) {
  const int blocks = blocks_of(weight.out), kernel = weight.kernel;
  const std::ptrdiff_t stride = direct_stride(weight.in, kernel);
  Floats packed(static_cast<std::size_t>(blocks * stride));
  std::fill_n(packed.data(), packed.size(), 0.0f);
  for (int o = 0; o < weight.out; ++o) {
    float* to = packed.data() + o / kBlock * stride + o % kBlock;
    for (int y = 0; y < kernel; ++y) {
      for (int x = 0; x < kernel; ++x) {
        for (int i = 0; i < weight.in; ++i, to += kBlock) *to = weight.at(o, i, y, x);
      }
    }
  }
  return packed;
}

Floats pack_winograd(const WeightView& weight, int tile) {
  const int blocks = blocks_of(weight.out);
  const std::ptrdiff_t stride = winograd_stride(weight.in, tile);
  const std::ptrdiff_t position = static_cast<std::ptrdiff_t>(weight.in) * kBlock;
  Floats packed(static_cast<std::size_t>(blocks * stride));
  std::fill_n(packed.data(), packed.size(), 0.0f);
  for (int o = 0; o < weight.out; ++o) {
    for (int i = 0; i < weight.in; ++i) {
      transform(weight, tile == 4 ? kTransform4 : kTransform6, tile_in(tile), o, i,
                packed.data() + o / kBlock * stride + i * kBlock + o % kBlock, position);
    }
  }
  return packed;
}

Floats pack_vector(const float* data, int count, float fill) {
  Floats packed(static_cast<std::size_t>(blocks_of(count)) * kBlock);
  std::fill_n(packed.data(), packed.size(), fill);
  std::copy_n(data, count, packed.data());
  return packed;
}

}  // namespace waifu2x::engine
