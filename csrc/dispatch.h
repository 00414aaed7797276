// Selects kernels for the CPU at run time. Levels are cumulative: scalar, avx2, avx512 on x86-64;
// scalar, neon on AArch64. A level replaces some kernels of the level below.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels.h"

namespace waifu2x {

struct Level {
  std::string name;
  Kernels kernels;
};

// The levels that the CPU supports, up to the cap in the environment variable WAIFU2X_CPU, lowest
// first. Never empty. WAIFU2X_CPU is read once; throws std::invalid_argument if it names no level.
const std::vector<Level>& levels();

// The highest of levels(), used by default.
const Level& best_level();

// A level by name, for tests and benchmarks; throws std::invalid_argument if unavailable.
const Level& level(std::string_view name);

}  // namespace waifu2x
