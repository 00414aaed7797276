#include "kernels.h"
#include "sample.h"

namespace waifu2x {
namespace {

template <class T>
void gather_rgb_scalar(const T* src, float* r, float* g, float* b, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    r[i] = normalize(src[3 * i]);
    g[i] = normalize(src[3 * i + 1]);
    b[i] = normalize(src[3 * i + 2]);
  }
}

template <class T>
void gather_gray_scalar(const T* src, float* dst, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) dst[i] = normalize(src[i]);
}

template <class T>
void install(SampleKernels<T>& samples) {
  samples.gather_rgb = gather_rgb_scalar<T>;
  samples.gather_gray = gather_gray_scalar<T>;
}

}  // namespace

void install_gather_scalar(Kernels& kernels) {
  install(kernels.u8);
  install(kernels.u16);
  install(kernels.f32);
}

}  // namespace waifu2x
