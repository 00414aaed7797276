#include "kernels.h"
#include "sample.h"

namespace waifu2x {
namespace {

template <class T>
std::size_t blend_rgb_scalar(const float* r, const float* g, const float* b, T* dst,
                             std::size_t n) {
  std::size_t bad = 0;
  for (std::size_t i = 0; i < n; ++i) bad += blend_rgb_pixel(r[i], g[i], b[i], dst + 3 * i);
  return bad;
}

template <class T>
std::size_t blend_gray_scalar(const float* r, const float* g, const float* b, T* dst,
                              std::size_t n) {
  std::size_t bad = 0;
  for (std::size_t i = 0; i < n; ++i) bad += blend_gray_pixel(r[i], g[i], b[i], dst + i);
  return bad;
}

template <class T>
std::size_t quantize_scalar(const float* src, T* dst, std::size_t n) {
  std::size_t bad = 0;
  for (std::size_t i = 0; i < n; ++i) bad += quantize_counted(src[i], dst + i);
  return bad;
}

template <class T>
void install(SampleKernels<T>& samples) {
  samples.blend_rgb = blend_rgb_scalar<T>;
  samples.blend_gray = blend_gray_scalar<T>;
  samples.quantize = quantize_scalar<T>;
}

}  // namespace

void install_blend_scalar(Kernels& kernels) {
  install(kernels.u8);
  install(kernels.u16);
  install(kernels.f32);
}

}  // namespace waifu2x
