// One stage of a program over one rectangle of its results.
#pragma once

#include <functional>
#include <vector>

#include "engine/executor.h"
#include "engine/nodes.h"

namespace waifu2x::engine {

// A result of a stage: rows and columns of `value` that a region has to deliver.
struct Wanted {
  int value;
  Range rows;
  Range columns;
};

// A stage of a program for one size of input.
struct Stage {
  const Program& program;
  int index;
  std::vector<int> heights;  // by value
  std::vector<int> widths;
  std::vector<int> nodes;  // of this stage, in order
  std::vector<Rows> whole;  // by value; base null where a value is not kept whole
};

class Region {
 public:
  // `cache` is the size in bytes of the cache that Winograd's transforms should stay in.
  Region(const Stage& stage, std::vector<Wanted> wanted, std::size_t cache);

  // Calls deliver(index into wanted, rows of the value, rows that are ready) as rows become ready.
  // Returns false if it was stopped. `gates` are the pooled vectors; `progress` gets the share of
  // this region that each step adds.
  using Deliver = std::function<void(std::size_t, const Rows&, Range)>;
  bool run(const Kernels& kernels, Arena& arena, const Source& source,
           const std::vector<Floats>& gates, const Deliver& deliver,
           const std::function<void(double)>& progress, const std::atomic<bool>& stop) const;

 private:
  struct Kept {  // how a value of this stage is stored
    Range rows;     // computed
    Range columns;  // computed
    Range stored;   // columns stored, with those that read as zeros
    int capacity = 0;
  };
  struct Progress {
    std::vector<int> done;       // rows of each value, up to here
    std::vector<int> delivered;  // rows of each that is wanted, up to here
  };

  void plan_ranges();
  void plan_rings();
  Progress start() const;
  // From before step `step` to after it.
  void advance(int step, Progress& progress) const;
  // Rows of a wanted value in a step.
  int rows_per_step(const Wanted& wanted) const;
  bool local(int value) const;

  const Stage& stage_;
  std::vector<Wanted> wanted_;
  std::vector<Kept> kept_;
  int steps_ = 0;
  int step_rows_ = 0;  // input rows in a step
  std::vector<int> tiles_of_;  // by node; not used where there is no Winograd
  std::size_t scratch_ = 0;
  std::size_t zeros_ = 0;
  std::size_t floats_ = 0;
};

}  // namespace waifu2x::engine
