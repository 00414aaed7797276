#include "kernels.h"

#if WAIFU2X_ARM

#include "arm/neon.h"
#include "sample.h"

namespace waifu2x {
namespace {

constexpr std::size_t kStep = 8;

// Eight samples of a plane.
struct Octet {
  float32x4_t low, high;
};

inline Octet load(const float* src) { return {vld1q_f32(src), vld1q_f32(src + 4)}; }

// Counts the samples of each lane that are not finite: |v| < inf is false for inf and NaN.
class Census {
 public:
  void add(const Octet& v) {
    add(v.low);
    add(v.high);
  }
  std::size_t total() const { return vaddlvq_u32(counts_); }

 private:
  void add(float32x4_t v) {
    const float32x4_t infinity = vdupq_n_f32(std::numeric_limits<float>::infinity());
    counts_ = vsubq_u32(counts_, vmvnq_u32(vcaltq_f32(v, infinity)));
  }

  uint32x4_t counts_ = vdupq_n_u32(0);
};

// The "number" instructions return the other operand for NaN and order -0 below +0.
inline float32x4_t clamp4(float32x4_t v) {
  return vminnmq_f32(vmaxnmq_f32(v, vdupq_n_f32(0.0f)), vdupq_n_f32(1.0f));
}

template <class T>
inline uint16x4_t quantize4(float32x4_t v) {
  const float32x4_t scaled = vmulq_f32(clamp4(v), vdupq_n_f32(kFull<T>));
  return vmovn_u32(vcvtq_u32_f32(vaddq_f32(scaled, vdupq_n_f32(0.5f))));
}

template <class T>
inline uint16x8_t quantize8(const Octet& v) {
  return vcombine_u16(quantize4<T>(v.low), quantize4<T>(v.high));
}

// Eight samples.
inline void store(std::uint8_t* dst, const Octet& v) {
  vst1_u8(dst, vmovn_u16(quantize8<std::uint8_t>(v)));
}

inline void store(std::uint16_t* dst, const Octet& v) {
  vst1q_u16(dst, quantize8<std::uint16_t>(v));
}

inline void store(float* dst, const Octet& v) {
  vst1q_f32(dst, clamp4(v.low));
  vst1q_f32(dst + 4, clamp4(v.high));
}

// Eight interleaved pixels.
inline void store(std::uint8_t* dst, const Octet& r, const Octet& g, const Octet& b) {
  const uint8x8x3_t v = {{vmovn_u16(quantize8<std::uint8_t>(r)),
                          vmovn_u16(quantize8<std::uint8_t>(g)),
                          vmovn_u16(quantize8<std::uint8_t>(b))}};
  vst3_u8(dst, v);
}

inline void store(std::uint16_t* dst, const Octet& r, const Octet& g, const Octet& b) {
  const uint16x8x3_t v = {
      {quantize8<std::uint16_t>(r), quantize8<std::uint16_t>(g), quantize8<std::uint16_t>(b)}};
  vst3q_u16(dst, v);
}

inline void store(float* dst, const Octet& r, const Octet& g, const Octet& b) {
  const float32x4x3_t low = {{clamp4(r.low), clamp4(g.low), clamp4(b.low)}};
  const float32x4x3_t high = {{clamp4(r.high), clamp4(g.high), clamp4(b.high)}};
  vst3q_f32(dst, low);
  vst3q_f32(dst + 12, high);
}

template <class T>
std::size_t blend_rgb_neon(const float* r, const float* g, const float* b, T* dst, std::size_t n) {
  Census census;
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const Octet red = load(r + i), green = load(g + i), blue = load(b + i);
    census.add(red);
    census.add(green);
    census.add(blue);
    store(dst + 3 * i, red, green, blue);
  }
  std::size_t bad = census.total();
  for (; i < n; ++i) bad += blend_rgb_pixel(r[i], g[i], b[i], dst + 3 * i);
  return bad;
}

template <class T>
std::size_t blend_gray_neon(const float* r, const float* g, const float* b, T* dst,
                            std::size_t n) {
  Census census;
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const Octet red = load(r + i), green = load(g + i), blue = load(b + i);
    census.add(red);
    census.add(green);
    census.add(blue);
    store(dst + i,
          Octet{luma4({red.low, green.low, blue.low}), luma4({red.high, green.high, blue.high})});
  }
  std::size_t bad = census.total();
  for (; i < n; ++i) bad += blend_gray_pixel(r[i], g[i], b[i], dst + i);
  return bad;
}

template <class T>
std::size_t quantize_neon(const float* src, T* dst, std::size_t n) {
  Census census;
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const Octet v = load(src + i);
    census.add(v);
    store(dst + i, v);
  }
  std::size_t bad = census.total();
  for (; i < n; ++i) bad += quantize_counted(src[i], dst + i);
  return bad;
}

template <class T>
void install(SampleKernels<T>& samples) {
  samples.blend_rgb = blend_rgb_neon<T>;
  samples.blend_gray = blend_gray_neon<T>;
  samples.quantize = quantize_neon<T>;
}

}  // namespace

void install_blend_neon(Kernels& kernels) {
  install(kernels.u8);
  install(kernels.u16);
  install(kernels.f32);
}

}  // namespace waifu2x

#endif
