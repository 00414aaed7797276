#include "engine/target.h"
#include "kernels.h"
#include "sample.h"

namespace waifu2x {
namespace {

#include "color_fix.inl"

}  // namespace

void install_color_fix_scalar(Kernels& kernels) {
  kernels.average_drift = average_drift;
  kernels.apply_drift = apply_drift;
}

}  // namespace waifu2x
