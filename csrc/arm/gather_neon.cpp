#include "kernels.h"

#if WAIFU2X_ARM

#include "arm/neon.h"
#include "sample.h"

namespace waifu2x {
namespace {

constexpr std::size_t kStep = 8;

// Divides: a product with 1 / 255 would be off by one bit for some samples.
template <class T>
inline void store_normalized(float* dst, uint16x8_t v) {
  const float32x4_t full = vdupq_n_f32(kFull<T>);
  vst1q_f32(dst, vdivq_f32(vcvtq_f32_u32(vmovl_u16(vget_low_u16(v))), full));
  vst1q_f32(dst + 4, vdivq_f32(vcvtq_f32_u32(vmovl_u16(vget_high_u16(v))), full));
}

inline uint16x8_t load(const std::uint8_t* src) { return vmovl_u8(vld1_u8(src)); }
inline uint16x8_t load(const std::uint16_t* src) { return vld1q_u16(src); }

inline uint16x8x3_t load_rgb(const std::uint8_t* src) {
  const uint8x8x3_t v = vld3_u8(src);
  return {{vmovl_u8(v.val[0]), vmovl_u8(v.val[1]), vmovl_u8(v.val[2])}};
}
inline uint16x8x3_t load_rgb(const std::uint16_t* src) { return vld3q_u16(src); }

template <class T>
void gather_rgb_neon(const T* src, float* r, float* g, float* b, std::size_t n) {
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const uint16x8x3_t v = load_rgb(src + 3 * i);
    store_normalized<T>(r + i, v.val[0]);
    store_normalized<T>(g + i, v.val[1]);
    store_normalized<T>(b + i, v.val[2]);
  }
  for (; i < n; ++i) {
    r[i] = normalize(src[3 * i]);
    g[i] = normalize(src[3 * i + 1]);
    b[i] = normalize(src[3 * i + 2]);
  }
}

template <class T>
void gather_gray_neon(const T* src, float* dst, std::size_t n) {
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) store_normalized<T>(dst + i, load(src + i));
  for (; i < n; ++i) dst[i] = normalize(src[i]);
}

void gather_rgb_f32_neon(const float* src, float* r, float* g, float* b, std::size_t n) {
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const float32x4x3_t v = vld3q_f32(src + 3 * i);
    vst1q_f32(r + i, v.val[0]);
    vst1q_f32(g + i, v.val[1]);
    vst1q_f32(b + i, v.val[2]);
  }
  for (; i < n; ++i) {
    r[i] = src[3 * i];
    g[i] = src[3 * i + 1];
    b[i] = src[3 * i + 2];
  }
}

}  // namespace

// gather_gray of float32 is a copy: the scalar kernel suffices.
void install_gather_neon(Kernels& kernels) {
  kernels.u8.gather_rgb = gather_rgb_neon<std::uint8_t>;
  kernels.u8.gather_gray = gather_gray_neon<std::uint8_t>;
  kernels.u16.gather_rgb = gather_rgb_neon<std::uint16_t>;
  kernels.u16.gather_gray = gather_gray_neon<std::uint16_t>;
  kernels.f32.gather_rgb = gather_rgb_f32_neon;
}

}  // namespace waifu2x

#endif
