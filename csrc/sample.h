// Arithmetic of a sample, for the scalar kernels and for the last pixels of a row in the vector
// kernels. Every operation is a correctly rounded float32 operation in the order written, so the
// compiler must not contract a * b + c (setup.py passes -ffp-contract=off).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace waifu2x {

// The sample value that represents 1.0.
template <class T>
inline constexpr float kFull = static_cast<float>(std::numeric_limits<T>::max());
template <>
inline constexpr float kFull<float> = 1.0f;

template <class T>
inline float normalize(T v) {
  if constexpr (std::is_same_v<T, float>) {
    return v;
  } else {
    return static_cast<float>(v) / kFull<T>;
  }
}

// BT.601: 0.299 r + 0.587 g + 0.114 b, in a form that returns exactly g for r = g = b.
constexpr float kLumaRed = 0.299f;
constexpr float kLumaBlue = 0.114f;

inline float luma(float r, float g, float b) {
  return g + (kLumaRed * (r - g) + kLumaBlue * (b - g));
}

// NaN and -0 become +0: like maxps(v, 0), the comparison is false for both.
inline float clamp_unit(float v) {
  v = v > 0.0f ? v : 0.0f;
  return v < 1.0f ? v : 1.0f;
}

// floor(v * max + 0.5). The sum is at most 65535.5, exact in float32, and not negative: truncation
// is the floor.
template <class T>
inline T quantize_sample(float v) {
  if constexpr (std::is_same_v<T, float>) {
    return clamp_unit(v);
  } else {
    return static_cast<T>(static_cast<std::int32_t>(clamp_unit(v) * kFull<T> + 0.5f));
  }
}

inline std::size_t not_finite(float v) { return std::isfinite(v) ? 0 : 1; }

// Kernels for a single pixel. Blending and quantizing return how many samples are not finite.
template <class T>
inline std::size_t blend_rgb_pixel(float r, float g, float b, T* dst) {
  dst[0] = quantize_sample<T>(r);
  dst[1] = quantize_sample<T>(g);
  dst[2] = quantize_sample<T>(b);
  return not_finite(r) + not_finite(g) + not_finite(b);
}

template <class T>
inline std::size_t blend_gray_pixel(float r, float g, float b, T* dst) {
  *dst = quantize_sample<T>(luma(r, g, b));
  return not_finite(r) + not_finite(g) + not_finite(b);
}

template <class T>
inline std::size_t quantize_counted(float v, T* dst) {
  *dst = quantize_sample<T>(v);
  return not_finite(v);
}

inline void feather_rgb_pixel(float r, float g, float b, float weight, float* canvas) {
  canvas[0] += r * weight;
  canvas[1] += g * weight;
  canvas[2] += b * weight;
}

inline void feather_gray_pixel(float r, float g, float b, float weight, float* canvas) {
  *canvas += luma(r, g, b) * weight;
}

}  // namespace waifu2x
