#include "kernels.h"
#include "sample.h"

namespace waifu2x {
namespace {

void feather_rgb_scalar(const float* r, const float* g, const float* b, const float* wx, float wy,
                        float* canvas, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    feather_rgb_pixel(r[i], g[i], b[i], wy * wx[i], canvas + 3 * i);
  }
}

void feather_gray_scalar(const float* r, const float* g, const float* b, const float* wx, float wy,
                         float* canvas, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    feather_gray_pixel(r[i], g[i], b[i], wy * wx[i], canvas + i);
  }
}

}  // namespace

void install_feather_scalar(Kernels& kernels) {
  kernels.feather_rgb = feather_rgb_scalar;
  kernels.feather_gray = feather_gray_scalar;
}

}  // namespace waifu2x
