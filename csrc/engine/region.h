// Computes one stage of a program for one rectangle of its results, by a team of threads.
#pragma once

#include <functional>
#include <vector>

#include "engine/io.h"
#include "engine/nodes.h"
#include "engine/team.h"

namespace waifu2x::engine {

// The rows and columns of a value that a region delivers.
struct RegionOutput {
  int value;
  Range rows;
  Range columns;
};

// A stage of a program, for one size of input.
struct Stage {
  const Program& program;
  int index;
  std::vector<int> heights;  // by value
  std::vector<int> widths;
  std::vector<int> nodes;      // of this stage, in order
  std::vector<Rows> buffered;  // by value; base is null unless an earlier stage buffered the value
};

class Region {
 public:
  // transform_bytes: how much cache the Winograd transforms of a batch of tiles may occupy.
  // members: of the team.
  Region(const Kernels& kernels, const Stage& stage, std::vector<RegionOutput> outputs,
         std::size_t transform_bytes, int members);

  const Stage& stage() const { return stage_; }

  // Floats of the memory that the members share, and of the memory of each.
  std::size_t shared_floats() const { return shared_floats_; }
  std::size_t member_floats() const { return Arena::rounded(scratch_); }

  // Calls deliver(index into outputs, rows of the value, range of new rows) as rows become ready.
  // Returns false if stopped. progress receives the share of this region that each step adds.
  using Deliver = std::function<void(std::size_t, const Rows&, Range)>;
  bool run(Team::Member& member, float* shared, float* scratch, const Source& source,
           const std::vector<Floats>& pooled, const Deliver& deliver,
           const std::function<void(double)>& progress) const;

 private:
  struct BufferPlan {  // the ring buffer of a value of this stage
    Range rows;        // computed
    Range columns;     // computed
    Range stored;      // columns in memory, including padding that reads as zeros
    int capacity = 0;  // rows
  };
  struct Progress {
    std::vector<int> computed;   // by value: end of the computed rows
    std::vector<int> delivered;  // by output: end of the delivered rows
  };

  // The values, with their ring buffers in `shared` after a row of zeros.
  std::vector<Rows> rings(float* shared) const;
  // Zeros that row and what is read before it is written, of a part of the values.
  void clear(float* shared, const std::vector<Rows>& values, Part part) const;
  void read_input(const Source& source, int value, const Rows& to, Range rows,
                  float* scratch) const;
  void plan_ranges();
  void plan_rings();
  Progress start() const;
  // Advances the row counters by one step.
  void advance(int step, Progress& progress) const;
  int rows_per_step(const RegionOutput& output) const;
  // Whether this stage computes the value.
  bool is_local(int value) const;

  const Kernels& kernels_;
  const Stage& stage_;
  std::vector<RegionOutput> outputs_;
  std::vector<BufferPlan> plans_;
  int first_step_ = 0;  // negative: steps before the first output
  int steps_ = 0;
  int step_rows_ = 0;               // input rows of a step
  std::vector<int> winograd_tiles_;  // by node: tiles of a batch
  int members_;
  std::size_t scratch_ = 0;         // floats, as the next two
  std::size_t zeros_ = 0;
  std::size_t shared_floats_ = 0;
};

}  // namespace waifu2x::engine
