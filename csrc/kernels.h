// The signature of each kernel. A kernel processes a row, or a picture in the case of bleed.
// Windows and edges are handled in tiles.cpp, arguments are checked in bindings/.
//
// To add a kernel: declare a member below, define the reference in a scalar file, and declare an
// install_* function at the bottom for dispatch.cpp to call. A faster kernel replaces the member
// and must return the same bits. If it reorders sums, its comment states the error bound instead.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/kernels.h"
#include "image.h"

#if defined(__x86_64__) || defined(_M_X64)
#define WAIFU2X_X86 1
#elif defined(__aarch64__) || defined(_M_ARM64)
#define WAIFU2X_ARM 1
#endif

namespace waifu2x {

// Kernels for samples of type T: uint8_t, uint16_t or float. A row has n >= 0 pixels. Source and
// destination do not overlap.
template <class T>
struct SampleKernels {
  // n interleaved pixels -> three planes in [0, 1], each the correctly rounded v / max.
  void (*gather_rgb)(const T* src, float* r, float* g, float* b, std::size_t n);
  void (*gather_gray)(const T* src, float* dst, std::size_t n);

  // Three planes -> n pixels, clamped to [0, 1] and quantized; NaN becomes 0. Returns how many of
  // the 3n source samples are not finite. blend_gray writes the luma of the unclamped samples.
  std::size_t (*blend_rgb)(const float* r, const float* g, const float* b, T* dst, std::size_t n);
  std::size_t (*blend_gray)(const float* r, const float* g, const float* b, T* dst, std::size_t n);

  // Clamps and quantizes n samples in the same way; returns how many are not finite.
  std::size_t (*quantize)(const float* src, T* dst, std::size_t n);

  // Spreads color into the pixels with alpha <= 0, one ring of pixels per iteration. May throw
  // std::bad_alloc.
  void (*bleed)(Image<T> color, Image<const T> alpha, std::int64_t iterations);
};

// Source pixels on each side over which color_fix.h averages the drift of colors.
constexpr int kColorFixReach = 3;

// A row of source pixels: red, green and blue, their drift, and how flat the source is, 0 to 1.
// kColorFixReach pixels of padding precede and follow every plane.
struct DriftRow {
  const float* color[3];
  const float* drift[3];
  const float* flat;
};

// What corrects a row of n pixels of the result. A source row has 8 planes of floats, `plane`
// apart: color, mean drift, its confidence, and the share of the color itself. Every pixel is
// repeated `step` times; `step` samples of padding precede and follow each plane.
struct CorrectedRow {
  const float* above;
  const float* here;
  const float* below;
  std::ptrdiff_t plane;
  std::ptrdiff_t step;
  const float* across;  // (3, n): weights of the pixel on the left, below and on the right
  float down[3];        // weights of the three rows
  const float* range;   // (6, n): lowest and highest color around
};

struct Kernels {
  SampleKernels<std::uint8_t> u8;
  SampleKernels<std::uint16_t> u16;
  SampleKernels<float> f32;

  // canvas += sample * (wy * wx[x]) for n pixels; feather_gray adds the luma of the samples.
  void (*feather_rgb)(const float* r, const float* g, const float* b, const float* wx, float wy,
                      float* canvas, std::size_t n);
  void (*feather_gray)(const float* r, const float* g, const float* b, const float* wx, float wy,
                       float* canvas, std::size_t n);

  // The mean drift (3 rows of n) around each pixel of rows[own], and its confidence, 0 to 1.
  // scratch: 8 * n floats.
  void (*average_drift)(const DriftRow* rows, std::size_t count, std::size_t own, float* scratch,
                        float* const* mean, float* confidence, std::size_t n);
  // Three planes of the result -> three corrected planes.
  void (*apply_drift)(const CorrectedRow& row, const float* result_r, const float* result_g,
                      const float* result_b, float* out_r, float* out_g, float* out_b,
                      std::size_t n);

  engine::Kernels engine;
};

template <class T>
const SampleKernels<T>& samples_of(const Kernels& kernels);
template <>
inline const SampleKernels<std::uint8_t>& samples_of(const Kernels& kernels) {
  return kernels.u8;
}
template <>
inline const SampleKernels<std::uint16_t>& samples_of(const Kernels& kernels) {
  return kernels.u16;
}
template <>
inline const SampleKernels<float>& samples_of(const Kernels& kernels) {
  return kernels.f32;
}

void install_gather_scalar(Kernels& kernels);
void install_blend_scalar(Kernels& kernels);
void install_feather_scalar(Kernels& kernels);
void install_bleed_scalar(Kernels& kernels);
void install_color_fix_scalar(Kernels& kernels);
void install_engine_scalar(Kernels& kernels);

#if WAIFU2X_X86
void install_gather_avx2(Kernels& kernels);
void install_blend_avx2(Kernels& kernels);
void install_feather_avx2(Kernels& kernels);
void install_color_fix_avx2(Kernels& kernels);
void install_engine_avx2(Kernels& kernels);
void install_engine_avx512(Kernels& kernels);
#elif WAIFU2X_ARM
void install_gather_neon(Kernels& kernels);
void install_blend_neon(Kernels& kernels);
void install_feather_neon(Kernels& kernels);
void install_engine_neon(Kernels& kernels);
#endif

}  // namespace waifu2x
