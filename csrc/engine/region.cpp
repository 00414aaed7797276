#include "engine/region.h"

#include <algorithm>
#include <limits>

namespace waifu2x::engine {
namespace {

// Winograd tiles of a step and a thread: enough to fill most batches.
constexpr int kTilesPerStep = 56;

Range join(Range a, Range b) {
  if (a.empty()) return b;
  if (b.empty()) return a;
  return {std::min(a.lo, b.lo), std::max(a.hi, b.hi)};
}

// The part of a range inside [0, size); empty if there is none.
Range clip(Range r, int size) {
  const int lo = std::clamp(r.lo, 0, size);
  return {lo, std::clamp(r.hi, lo, size)};
}

// Zeros the stored columns outside `computed`. lines: rows of blocks in memory.
void zero_padding(const Rows& rows, int lines, Range computed) {
  // Wide padding may separate the two.
  const int lo = std::clamp(computed.lo - rows.left, 0, rows.width);
  const int hi = std::clamp(computed.hi - rows.left, lo, rows.width);
  if (lo == 0 && hi == rows.width) return;
  float* line = rows.base;
  for (int i = 0; i < lines; ++i, line += std::ptrdiff_t{rows.width} * kBlock) {
    std::fill(line, line + std::ptrdiff_t{lo} * kBlock, 0.0f);
    std::fill(line + std::ptrdiff_t{hi} * kBlock, line + std::ptrdiff_t{rows.width} * kBlock, 0.0f);
  }
}

}  // namespace

Region::Region(const Kernels& kernels, const Stage& stage, std::vector<RegionOutput> outputs,
               std::size_t transform_bytes, int members)
    : kernels_(kernels), stage_(stage), outputs_(std::move(outputs)), members_(members) {
  plan_ranges();
  plan_rings();
  winograd_tiles_.assign(stage.program.nodes().size(), 1);
  for (int n : stage.nodes) {
    const Node& node = stage.program.nodes()[index(n)];
    const BufferPlan& plan = plans_[index(node.value)];
    if (plan.rows.empty()) continue;
    if (node.conv.winograd) {
      winograd_tiles_[index(n)] =
          tiles_for_cache(node.conv, transform_bytes, kernels.product_tiles);
    }
    scratch_ = std::max(scratch_, scratch_floats(node.conv, winograd_tiles_[index(n)]));
    if (node.kind == Kind::resize) {  // a row of the source
      const Range read = node.read_range(node.sources[0], false, plan.columns);
      scratch_ = std::max(scratch_, index(read.size()) * kBlock);
    }
  }
  std::size_t widest = 0;
  for (std::size_t v = 0; v < plans_.size(); ++v) {
    const BufferPlan& plan = plans_[v];
    const auto row = index(plan.stored.size()) * kBlock;
    widest = std::max(widest, row);
    shared_floats_ += Arena::rounded(row * index(stage.program.values()[v].blocks) *
                                      index(plan.capacity));
    if (stage_.buffered[v].base != nullptr) {
      widest = std::max(widest, index(stage_.buffered[v].width) * kBlock);
    }
  }
  // Scratch also holds a row of input planes.
  const BufferPlan& input = plans_[0];
  scratch_ = std::max(scratch_, index(input.columns.size()) * index(stage.program.channels(0)));
  zeros_ = widest;
  shared_floats_ += Arena::rounded(zeros_);
}

bool Region::is_local(int value) const {
  return stage_.program.computes(stage_.index, value);
}

// Walks from the results back to the input and collects the range to compute of each value.
void Region::plan_ranges() {
  plans_.assign(stage_.program.values().size(), {});
  for (const RegionOutput& output : outputs_) {
    BufferPlan& plan = plans_[index(output.value)];
    plan.rows = join(plan.rows, output.rows);
    plan.columns = join(plan.columns, output.columns);
  }
  for (auto n = stage_.nodes.rbegin(); n != stage_.nodes.rend(); ++n) {
    const Node& node = stage_.program.nodes()[index(*n)];
    BufferPlan& plan = plans_[index(node.value)];
    if (plan.rows.empty() || plan.columns.empty()) continue;
    plan.rows = node.computed_range(plan.rows, stage_.heights[index(node.value)]);
    plan.columns = node.computed_range(plan.columns, stage_.widths[index(node.value)]);
    plan.stored = join(plan.stored, plan.columns);
    node.for_reads([&](const Ref& source, bool pointwise) {
      if (!is_local(source.value)) return;
      BufferPlan& from = plans_[index(source.value)];
      const Range rows = node.read_range(source, pointwise, plan.rows);
      const Range columns = node.read_range(source, pointwise, plan.columns);
      from.rows = join(from.rows, clip(rows, stage_.heights[index(source.value)]));
      from.columns = join(from.columns, clip(columns, stage_.widths[index(source.value)]));
      from.stored = join(from.stored, columns);
    });
  }
}

// Simulates the steps on row numbers. The capacity of a ring buffer is the maximum number of rows
// between the first row still to be read and the last row computed.
void Region::plan_rings() {
  int width = 1, divisor = 1;
  for (std::size_t v = 0; v < plans_.size(); ++v) {
    if (plans_[v].rows.empty()) continue;
    const Value& value = stage_.program.values()[v];
    divisor = std::max(divisor, value.divisor / std::max(1, std::min(value.scale, value.divisor)));
    width = std::max(width, plans_[v].columns.size() * value.divisor / value.scale);
  }
  const int unit = kTile * divisor;
  const int rows = members_ * kTilesPerStep * kTile * kTile / width;
  // A team of more members than rows of tiles gets small batches: the last step is rounded up.
  const int whole = members_ > 1 ? round_up(rows, unit) : rows / unit * unit;
  step_rows_ = std::clamp(whole, unit, std::max(unit, 64 / unit * unit));
  for (const RegionOutput& output : outputs_) {
    const int step = rows_per_step(output);
    steps_ = std::max(steps_, (output.rows.size() + step - 1) / step);
  }
  // The first results need the whole context above them. Steps before the first output compute a
  // few rows of it at a time; at once, the ring buffers would have to hold all of it.
  constexpr int kMaxFirst = 1 << 10;
  for (first_step_ = 0; first_step_ > -kMaxFirst; --first_step_) {
    Progress trial = start();
    advance(first_step_ - 1, trial);
    if (trial.computed == start().computed) break;
  }

  Progress now = start();
  for (int step = first_step_; step < steps_; ++step) {
    const Progress before = now;
    advance(step, now);
    const auto keep = [&](int value, int from) {
      BufferPlan& plan = plans_[index(value)];
      const int first = std::max(from, plan.rows.lo);
      plan.capacity = std::max(plan.capacity, now.computed[index(value)] - first);
    };
    for (int n : stage_.nodes) {
      const Node& node = stage_.program.nodes()[index(n)];
      const BufferPlan& plan = plans_[index(node.value)];
      const int from = before.computed[index(node.value)];
      if (from >= plan.rows.hi) continue;
      keep(node.value, from);
      node.for_reads([&](const Ref& source, bool pointwise) {
        if (is_local(source.value)) {
          keep(source.value, node.read_range(source, pointwise, {from, from + 1}).lo);
        }
      });
    }
    for (std::size_t i = 0; i < outputs_.size(); ++i) keep(outputs_[i].value, before.delivered[i]);
  }
}

int Region::rows_per_step(const RegionOutput& output) const {
  const Value& value = stage_.program.values()[index(output.value)];
  return std::max(1, step_rows_ * value.scale / value.divisor);
}

Region::Progress Region::start() const {
  Progress progress;
  for (const BufferPlan& plan : plans_) progress.computed.push_back(plan.rows.lo);
  for (const RegionOutput& output : outputs_) progress.delivered.push_back(output.rows.lo);
  return progress;
}

void Region::advance(int step, Progress& progress) const {
  std::vector<int>& computed = progress.computed;
  std::vector<int>& delivered = progress.delivered;
  // Before the first output, the rows that are needed lie above it.
  constexpr int kNone = std::numeric_limits<int>::min();
  std::vector<int> need(computed.size(), kNone);
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    const RegionOutput& output = outputs_[i];
    const int reached = output.rows.lo + (step + 1) * rows_per_step(output);
    const int last = step + 1 == steps_ ? output.rows.hi : std::min(output.rows.hi, reached);
    delivered[i] = std::max(delivered[i], last);
    need[index(output.value)] = std::max(need[index(output.value)], last);
  }
  for (auto n = stage_.nodes.rbegin(); n != stage_.nodes.rend(); ++n) {
    const Node& node = stage_.program.nodes()[index(*n)];
    const std::size_t v = index(node.value);
    if (need[v] == kNone || plans_[v].rows.empty()) continue;
    const int to = std::min(node.computed_end(need[v], stage_.heights[v]), plans_[v].rows.hi);
    node.for_reads([&](const Ref& source, bool pointwise) {
      if (!is_local(source.value)) return;
      const std::size_t s = index(source.value);
      const Range rows = node.read_range(source, pointwise, {to - 1, to});
      need[s] = std::max(need[s], std::min(rows.hi, stage_.heights[s]));
    });
    computed[v] = std::max(computed[v], to);
  }
}

std::vector<Rows> Region::rings(float* shared) const {
  const float* zeros = shared;
  shared += Arena::rounded(zeros_);
  std::vector<Rows> values = stage_.buffered;
  for (std::size_t v = 0; v < values.size(); ++v) {
    values[v].zeros = zeros;
    const BufferPlan& plan = plans_[v];
    if (plan.rows.empty()) continue;
    Rows& rows = values[v];
    rows.left = plan.stored.lo;
    rows.width = plan.stored.size();
    rows.height = stage_.heights[v];
    rows.capacity = plan.capacity;
    rows.row_stride = static_cast<std::ptrdiff_t>(stage_.program.values()[v].blocks) * rows.width *
                      kBlock;
    rows.base = shared;
    shared += Arena::rounded(index(plan.capacity) * static_cast<std::size_t>(rows.row_stride));
  }
  return values;
}

void Region::clear(float* shared, const std::vector<Rows>& values, Part part) const {
  if (part.index == 0) std::fill_n(shared, zeros_, 0.0f);
  for (std::size_t v = index(part.index); v < values.size(); v += index(part.count)) {
    const BufferPlan& plan = plans_[v];
    if (plan.rows.empty()) continue;
    const Value& value = stage_.program.values()[v];
    const Rows& rows = values[v];
    // Padding columns and the unused channels of the last block are never written: they read as 0.
    if (value.channels % kBlock != 0) {
      std::fill_n(rows.base, index(plan.capacity) * static_cast<std::size_t>(rows.row_stride), 0.0f);
    } else {
      zero_padding(rows, plan.capacity * value.blocks, plan.columns);
    }
  }
}

void Region::read_input(const Source& source, int value, const Rows& to, Range rows,
                        float* scratch) const {
  const Range columns = plans_[index(value)].columns;
  const int channels = stage_.program.channels(value);
  for (int y = rows.lo; y < rows.hi; ++y) {
    source.read(y, columns.lo, columns.size(), scratch, columns.size());
    for (int c = 0; c < channels; ++c) {
      const float* from = scratch + static_cast<std::ptrdiff_t>(c) * columns.size();
      float* at = to.at(y, c / kBlock, columns.lo) + c % kBlock;
      for (int x = 0; x < columns.size(); ++x) at[x * kBlock] = from[x];
    }
  }
}

bool Region::run(Team::Member& member, float* shared, float* scratch, const Source& source,
                 const std::vector<Floats>& pooled, const Deliver& deliver,
                 const std::function<void(double)>& progress) const {
  const std::vector<Rows> values = rings(shared);
  if (!member.phase([&](Part part) { clear(shared, values, part); })) return false;

  Progress now = start();
  for (int step = first_step_; step < steps_; ++step) {
    const Progress before = now;
    advance(step, now);
    for (int n : stage_.nodes) {
      const Node& node = stage_.program.nodes()[index(n)];
      const std::size_t v = index(node.value);
      const Range rows{before.computed[v], now.computed[v]};
      if (rows.empty()) continue;
      const bool running = member.phase([&](Part part) {
        if (node.kind == Kind::input) {
          read_input(source, node.value, values[v], split(rows, part), scratch);
          return;
        }
        const float* gate = node.gate < 0 ? nullptr : pooled[index(node.gate)].data();
        const int width = stage_.widths[index(node.sources[0].value)];
        run_node({kernels_, node, values, gate, rows, plans_[v].columns,
                  Scratch{scratch, winograd_tiles_[index(n)]}, width, part});
      });
      if (!running) return false;
    }
    const bool running = member.phase([&](Part part) {
      for (std::size_t i = 0; i < outputs_.size(); ++i) {
        const Range ready = split({before.delivered[i], now.delivered[i]}, part);
        if (!ready.empty()) deliver(i, values[index(outputs_[i].value)], ready);
      }
      progress(1.0 / (steps_ - first_step_) / part.count);
    });
    if (!running) return false;
  }
  return true;
}

}  // namespace waifu2x::engine
