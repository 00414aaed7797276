// Computes rows of a node.
#pragma once

#include <vector>

#include "engine/kernels.h"
#include "engine/program.h"
#include "engine/rows.h"
#include "engine/team.h"

namespace waifu2x::engine {

// Temporary memory of a node.
struct Scratch {
  float* memory = nullptr;
  int tiles = 1;  // Winograd tiles of a batch
};

// The number of Winograd tiles whose transforms about fit in `bytes` of cache: a multiple of `group`.
int tiles_for_cache(const Conv& conv, std::size_t bytes, int group);

// Floats of scratch for batches of `tiles` tiles.
std::size_t scratch_floats(const Conv& conv, int tiles);

struct NodeRun {
  const Kernels& kernels;
  const Node& node;
  const std::vector<Rows>& values;  // by value
  const float* gate;                // the factors of a multiply or a convolution
  Range rows;                       // of the result, see Node::computed_range and computed_end
  Range columns;
  Scratch scratch;
  int source_width;  // of the first source
  Part part;
};

// The part of a range.
Range split(Range range, Part part);

// Computes a part of a node of any kind except Kind::input.
void run_node(const NodeRun& run);

}  // namespace waifu2x::engine
