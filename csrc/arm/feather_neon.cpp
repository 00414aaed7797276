#include "kernels.h"

#if WAIFU2X_ARM

#include "arm/neon.h"
#include "sample.h"

namespace waifu2x {
namespace {

constexpr std::size_t kStep = 4;

// Rounds the product and the sum: a fused multiply-add would differ from the scalar kernel.
inline float32x4_t accumulate(float32x4_t canvas, float32x4_t sample, float32x4_t weight) {
  return vaddq_f32(canvas, vmulq_f32(sample, weight));
}

void feather_rgb_neon(const float* r, const float* g, const float* b, const float* wx, float wy,
                      float* canvas, std::size_t n) {
  const float32x4_t row_weight = vdupq_n_f32(wy);
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const float32x4_t weight = vmulq_f32(row_weight, vld1q_f32(wx + i));
    float32x4x3_t sums = vld3q_f32(canvas + 3 * i);
    sums.val[0] = accumulate(sums.val[0], vld1q_f32(r + i), weight);
    sums.val[1] = accumulate(sums.val[1], vld1q_f32(g + i), weight);
    sums.val[2] = accumulate(sums.val[2], vld1q_f32(b + i), weight);
    vst3q_f32(canvas + 3 * i, sums);
  }
  for (; i < n; ++i) feather_rgb_pixel(r[i], g[i], b[i], wy * wx[i], canvas + 3 * i);
}

void feather_gray_neon(const float* r, const float* g, const float* b, const float* wx, float wy,
                       float* canvas, std::size_t n) {
  const float32x4_t row_weight = vdupq_n_f32(wy);
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const float32x4_t weight = vmulq_f32(row_weight, vld1q_f32(wx + i));
    const Pixels p = {vld1q_f32(r + i), vld1q_f32(g + i), vld1q_f32(b + i)};
    vst1q_f32(canvas + i, accumulate(vld1q_f32(canvas + i), luma4(p), weight));
  }
  for (; i < n; ++i) feather_gray_pixel(r[i], g[i], b[i], wy * wx[i], canvas + i);
}

}  // namespace

void install_feather_neon(Kernels& kernels) {
  kernels.feather_rgb = feather_rgb_neon;
  kernels.feather_gray = feather_gray_neon;
}

}  // namespace waifu2x

#endif
