#include "engine/weights.h"

#include <algorithm>

#include "engine/kernels.h"
#include "engine/program.h"

namespace waifu2x::engine {
namespace {

// G, the kernel transform: evaluates the kernel at the interpolation points. The rows include the
// scaling that the other two transforms leave out.
constexpr double kTransform[kTileIn][3] = {
    {16.0 / 9, 0, 0},
    {-1.0 / 8, -1.0 / 16, -1.0 / 32},
    {-1.0 / 8, 1.0 / 16, -1.0 / 32},
    {1.0 / 72, 1.0 / 48, 1.0 / 32},
    {1.0 / 72, -1.0 / 48, 1.0 / 32},
    {0, 0, 1},
};

// Transforms the kernels of an output block: kernels[y][x][lane] to to[position][lane].
using Lanes = double[kBlock];

void transform(const Lanes (&kernels)[3][3], float* to, std::ptrdiff_t position_stride) {
  for (const double(&row)[3] : kTransform) {
    Lanes half[3];
    for (int x = 0; x < 3; ++x) {
      for (int lane = 0; lane < kBlock; ++lane) {
        half[x][lane] = row[0] * kernels[0][x][lane] + row[1] * kernels[1][x][lane] +
                        row[2] * kernels[2][x][lane];
      }
    }
    for (const double(&column)[3] : kTransform) {
      for (int lane = 0; lane < kBlock; ++lane) {
        to[lane] = static_cast<float>(column[0] * half[0][lane] + column[1] * half[1][lane] +
                                      column[2] * half[2][lane]);
      }
      to += position_stride;
    }
  }
}

}  // namespace

std::ptrdiff_t direct_stride(int in, int kernel) {
  return static_cast<std::ptrdiff_t>(kernel) * kernel * in * kBlock;
}

std::ptrdiff_t winograd_stride(int in) {
  return static_cast<std::ptrdiff_t>(kPositions) * in * kBlock;
}

Floats pack_direct(const WeightView& weight) {
  const int blocks = blocks_of(weight.out), kernel = weight.kernel;
  const std::ptrdiff_t stride = direct_stride(weight.in, kernel);
  Floats packed = Floats::in_large_pages(static_cast<std::size_t>(blocks * stride));
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

Floats pack_winograd(const WeightView& weight) {
  const int blocks = blocks_of(weight.out);
  const std::ptrdiff_t stride = winograd_stride(weight.in);
  const std::ptrdiff_t position = static_cast<std::ptrdiff_t>(weight.in) * kBlock;
  Floats packed = Floats::in_large_pages(static_cast<std::size_t>(blocks * stride));
  Lanes kernels[3][3] = {};
  for (int block = 0; block < blocks; ++block) {
    const int lanes = std::min(kBlock, weight.out - block * kBlock);
    for (int i = 0; i < weight.in; ++i) {
      for (int lane = 0; lane < kBlock; ++lane) {
        for (int y = 0; y < 3; ++y) {
          for (int x = 0; x < 3; ++x) {
            kernels[y][x][lane] =
                lane < lanes ? static_cast<double>(weight.at(block * kBlock + lane, i, y, x)) : 0.0;
          }
        }
      }
      transform(kernels, packed.data() + block * stride + i * kBlock, position);
    }
  }
  return packed;
}

Floats pack_vector(const float* data, int count, float fill, int phases) {
  Floats packed(static_cast<std::size_t>(blocks_of(count)) * kBlock);
  std::fill_n(packed.data(), packed.size(), fill);
  for (int o = 0; o < count; ++o) packed.data()[o] = data[phase_major(o, count, phases)];
  return packed;
}

}  // namespace waifu2x::engine
