#include "engine/region.h"

#include <algorithm>
#include <cstring>

namespace waifu2x::engine {
namespace {

// A step has about this many tiles, so that a batch of them is seldom cut short.
constexpr int kTilesPerStep = 56;

std::size_t index(int i) { return static_cast<std::size_t>(i); }

Range join(Range a, Range b) {
  if (a.empty()) return b;
  if (b.empty()) return a;
  return {std::min(a.lo, b.lo), std::max(a.hi, b.hi)};
}

// What of a range there is; empty, not negative, where that is nothing.
Range clip(Range r, int size) {
  const int lo = std::clamp(r.lo, 0, size);
  return {lo, std::clamp(r.hi, lo, size)};
}

// Calls call(ref, is_addend) for everything a node reads.
template <class Call>
void for_reads(const Node& node, Call call) {
  for (const Ref& source : node.sources) call(source, false);
  if (node.addend.value >= 0) call(node.addend, true);
}

}  // namespace

Region::Region(const Stage& stage, std::vector<Wanted> wanted, std::size_t cache)
    : stage_(stage), wanted_(std::move(wanted)) {
  plan_ranges();
  plan_rings();
  tiles_of_.assign(stage.program.nodes().size(), 1);
  for (int n : stage.nodes) {
    const Node& node = stage.program.nodes()[index(n)];
    const Kept& kept = kept_[index(node.value)];
    if (kept.rows.empty()) continue;
    if (node.conv.winograd) tiles_of_[index(n)] = tiles_for_cache(node.conv, cache);
    scratch_ = std::max(scratch_, scratch_floats(node.conv, tiles_of_[index(n)]));
  }
  std::size_t widest = 0;
  for (std::size_t v = 0; v < kept_.size(); ++v) {
    const Kept& kept = kept_[v];
    const auto row = index(kept.stored.size()) * kBlock;
    widest = std::max(widest, row);
    floats_ += Arena::rounded(row * index(stage.program.values()[v].blocks) *
                              index(kept.capacity));
    if (stage_.whole[v].base != nullptr) {
      widest = std::max(widest, index(stage_.whole[v].width) * kBlock);
    }
  }
  // A row of input planes, too.
  const Kept& input = kept_[0];
  scratch_ = std::max(scratch_, index(input.columns.size()) * index(stage.program.channels(0)));
  zeros_ = widest;
  floats_ += Arena::rounded(zeros_) + Arena::rounded(scratch_);
}

bool Region::local(int value) const {
  return stage_.program.values()[index(value)].stage == stage_.index;
}

const Node& Region::node_of(int value) const { return stage_.program.nodes()[index(value)]; }

// From the results back to the input: what has to be computed of every value.
void Region::plan_ranges() {
  kept_.assign(stage_.program.values().size(), {});
  for (const Wanted& wanted : wanted_) {
    Kept& kept = kept_[index(wanted.value)];
    kept.rows = join(kept.rows, wanted.rows);
    kept.columns = join(kept.columns, wanted.columns);
  }
  for (auto n = stage_.nodes.rbegin(); n != stage_.nodes.rend(); ++n) {
    const Node& node = stage_.program.nodes()[index(*n)];
    Kept& kept = kept_[index(node.value)];
    if (kept.rows.empty() || kept.columns.empty()) continue;
    kept.rows = node.computed(kept.rows, stage_.heights[index(node.value)]);
    kept.columns = node.computed(kept.columns, stage_.widths[index(node.value)]);
    kept.stored = join(kept.stored, kept.columns);
    for_reads(node, [&](const Ref& source, bool is_addend) {
      if (!local(source.value)) return;
      Kept& from = kept_[index(source.value)];
      const Range rows = node.reads(source, is_addend, kept.rows);
      const Range columns = node.reads(source, is_addend, kept.columns);
      from.rows = join(from.rows, clip(rows, stage_.heights[index(source.value)]));
      from.columns = join(from.columns, clip(columns, stage_.widths[index(source.value)]));
      from.stored = join(from.stored, columns);
    });
  }
}

// Plays the steps through with row numbers alone: the most rows of a value that are still to be
// read, together with those already there, are what its ring has to hold.
void Region::plan_rings() {
  int width = 1, divisor = 1;
  for (std::size_t v = 0; v < kept_.size(); ++v) {
    if (kept_[v].rows.empty()) continue;
    const Value& value = stage_.program.values()[v];
    divisor = std::max(divisor, value.divisor / std::max(1, std::min(value.scale, value.divisor)));
    width = std::max(width, kept_[v].columns.size() * value.divisor / value.scale);
  }
  const int unit = kTile * divisor;
  const int wanted = kTilesPerStep * kTile * kTile / width;
  step_rows_ = std::clamp(wanted / unit * unit, unit, std::max(unit, 64 / unit * unit));
  for (const Wanted& w : wanted_) {
    const Value& value = stage_.program.values()[index(w.value)];
    const int rows = std::max(1, step_rows_ * value.scale / value.divisor);
    steps_ = std::max(steps_, (w.rows.size() + rows - 1) / rows);
  }

  std::vector<int> done(kept_.size()), delivered(wanted_.size());
  for (std::size_t v = 0; v < kept_.size(); ++v) done[v] = kept_[v].rows.lo;
  for (std::size_t i = 0; i < wanted_.size(); ++i) delivered[i] = wanted_[i].rows.lo;
  for (int step = 0; step < steps_; ++step) {
    const std::vector<int> before = done, delivered_before = delivered;
    advance(step, done, delivered);
    const auto keep = [&](int value, int from) {
      Kept& kept = kept_[index(value)];
      kept.capacity = std::max(kept.capacity, done[index(value)] - std::max(from, kept.rows.lo));
    };
    for (int n : stage_.nodes) {
      const Node& node = stage_.program.nodes()[index(n)];
      const Kept& kept = kept_[index(node.value)];
      const int from = before[index(node.value)];
      if (from >= kept.rows.hi) continue;
      keep(node.value, from);
      for_reads(node, [&](const Ref& source, bool is_addend) {
        if (local(source.value)) {
          keep(source.value, node.reads(source, is_addend, {from, from + 1}).lo);
        }
      });
    }
    for (std::size_t i = 0; i < wanted_.size(); ++i) keep(wanted_[i].value, delivered_before[i]);
  }
}

void Region::advance(int step, std::vector<int>& done, std::vector<int>& delivered) const {
  std::vector<int> need = done;
  for (std::size_t i = 0; i < wanted_.size(); ++i) {
    const Wanted& wanted = wanted_[i];
    const Value& value = stage_.program.values()[index(wanted.value)];
    const int rows = std::max(1, step_rows_ * value.scale / value.divisor);
    delivered[i] = step + 1 == steps_ ? wanted.rows.hi
                                      : std::min(wanted.rows.hi, wanted.rows.lo + (step + 1) * rows);
    need[index(wanted.value)] = std::max(need[index(wanted.value)], delivered[i]);
  }
  for (auto n = stage_.nodes.rbegin(); n != stage_.nodes.rend(); ++n) {
    const Node& node = stage_.program.nodes()[index(*n)];
    const std::size_t v = index(node.value);
    if (need[v] <= done[v]) continue;
    const int to = std::min(node.advanced(need[v], stage_.heights[v]), kept_[v].rows.hi);
    for_reads(node, [&](const Ref& source, bool is_addend) {
      if (!local(source.value)) return;
      const std::size_t s = index(source.value);
      const Range rows = node.reads(source, is_addend, {done[v], to});
      need[s] = std::max(need[s], std::min(rows.hi, stage_.heights[s]));
    });
    done[v] = to;
  }
}

bool Region::run(const Kernels& kernels, Arena& arena, const Source& source,
                 const std::vector<Floats>& gates, const Deliver& deliver,
                 const std::function<void(double)>& progress, const std::atomic<bool>& stop) const {
  arena.reset(floats_);
  float* zeros = arena.take(zeros_);
  std::fill_n(zeros, zeros_, 0.0f);
  Scratch scratch{arena.take(scratch_), scratch_, 1};

  std::vector<Rows> values = stage_.whole;
  for (std::size_t v = 0; v < values.size(); ++v) {
    values[v].zeros = zeros;
    const Kept& kept = kept_[v];
    if (kept.rows.empty()) continue;
    const Value& value = stage_.program.values()[v];
    Rows& rows = values[v];
    rows.left = kept.stored.lo;
    rows.width = kept.stored.size();
    rows.height = stage_.heights[v];
    rows.capacity = kept.capacity;
    rows.row_stride = static_cast<std::ptrdiff_t>(value.blocks) * rows.width * kBlock;
    const std::size_t floats = index(kept.capacity) * static_cast<std::size_t>(rows.row_stride);
    rows.base = arena.take(floats);
    // What is stored and never computed reads as zero: beyond the edge, and channels there are not.
    if (value.channels % kBlock != 0 || kept.stored.size() != kept.columns.size()) {
      std::fill_n(rows.base, floats, 0.0f);
    }
  }

  std::vector<int> done(kept_.size()), delivered(wanted_.size());
  for (std::size_t v = 0; v < kept_.size(); ++v) done[v] = kept_[v].rows.lo;
  for (std::size_t i = 0; i < wanted_.size(); ++i) delivered[i] = wanted_[i].rows.lo;
  for (int step = 0; step < steps_; ++step) {
    if (stop.load(std::memory_order_relaxed)) return false;
    const std::vector<int> before = done, delivered_before = delivered;
    advance(step, done, delivered);
    for (int n : stage_.nodes) {
      const Node& node = stage_.program.nodes()[index(n)];
      const std::size_t v = index(node.value);
      if (done[v] <= before[v]) continue;
      const Range columns = kept_[v].columns;
      if (node.kind == Kind::input) {
        const int channels = stage_.program.channels(node.value);
        for (int y = before[v]; y < done[v]; ++y) {
          source.read(y, columns.lo, columns.size(), scratch.memory, columns.size());
          for (int c = 0; c < channels; ++c) {
            const float* from = scratch.memory + static_cast<std::ptrdiff_t>(c) * columns.size();
            float* to = values[v].at(y, c / kBlock, columns.lo) + c % kBlock;
            for (int x = 0; x < columns.size(); ++x) to[x * kBlock] = from[x];
          }
        }
        continue;
      }
      scratch.tiles = tiles_of_[index(n)];
      const float* gate = node.gate < 0 ? nullptr : gates[index(node.gate)].data();
      run_node({kernels, node, values, gate, {before[v], done[v]}, columns, scratch});
    }
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
      if (delivered[i] > delivered_before[i]) {
        deliver(i, values[index(wanted_[i].value)], {delivered_before[i], delivered[i]});
      }
    }
    progress(1.0 / steps_);
  }
  return true;
}

}  // namespace waifu2x::engine
