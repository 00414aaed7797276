#include "kernels.h"

#if WAIFU2X_X86

#include "engine/target.h"
#include "sample.h"
#include "x86/avx2.h"

WAIFU2X_AVX2_BEGIN

namespace waifu2x {
namespace {

#include "color_fix.inl"

}  // namespace
}  // namespace waifu2x

WAIFU2X_AVX2_END

namespace waifu2x {
void install_color_fix_avx2(Kernels& kernels) {
  kernels.average_drift = average_drift;
  kernels.apply_drift = apply_drift;
}
}  // namespace waifu2x

#endif
