// Which kernels this processor runs. A level is the scalar kernels with every step of the
// staircase up to it laid over them: scalar, avx2, avx512 on x86-64; scalar, neon on AArch64.
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

// The levels usable in this process, lowest first: those that the processor has and that the
// environment variable WAIFU2X_CPU, read once, does not cap. Never empty.
// Throws std::invalid_argument when WAIFU2X_CPU is set to something that is not a level here.
const std::vector<Level>& levels();

// The highest of levels(): the one in use.
const Level& best_level();

// A level by name, for tests and benchmarks; throws std::invalid_argument if it is not usable.
const Level& level(std::string_view name);

}  // namespace waifu2x
