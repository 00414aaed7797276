// Shared by the *_neon.cpp files: four samples per register. NEON belongs to the baseline of
// AArch64: no detection and no compiler switch.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "sample.h"

namespace waifu2x {
namespace {

struct Pixels {
  float32x4_t r, g, b;
};

inline float32x4_t luma4(const Pixels& p) {
  const float32x4_t red = vmulq_f32(vdupq_n_f32(kLumaRed), vsubq_f32(p.r, p.g));
  const float32x4_t blue = vmulq_f32(vdupq_n_f32(kLumaBlue), vsubq_f32(p.b, p.g));
  return vaddq_f32(p.g, vaddq_f32(red, blue));
}

}  // namespace
}  // namespace waifu2x
