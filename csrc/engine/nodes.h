// Runs one node over a few rows.
#pragma once

#include <vector>

#include "engine/kernels.h"
#include "engine/program.h"
#include "engine/rows.h"

namespace waifu2x::engine {

// Floats that one node may use while it runs.
struct Scratch {
  float* memory = nullptr;
  int tiles = 1;  // Winograd tiles at a time
};

// How many tiles of this convolution keep their transforms within `bytes` of cache.
int tiles_for_cache(const Conv& conv, std::size_t bytes);

// Floats of scratch for `tiles` tiles at a time.
std::size_t scratch_floats(const Conv& conv, int tiles);

struct NodeRun {
  const Kernels& kernels;
  const Node& node;
  const std::vector<Rows>& values;  // by value
  const float* gate;                // multiply
  Range rows;                       // of the result, as Node::computed and Node::advanced give them
  Range columns;
  Scratch scratch;
};

// Every kind but Kind::input.
void run_node(const NodeRun& run);

}  // namespace waifu2x::engine
