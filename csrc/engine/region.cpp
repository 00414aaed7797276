#include "engine/region.h"

#include <algorithm>

namespace waifu2x::engine {
namespace {

// A step has about this many tiles, so that a batch of them is seldom cut short.
constexpr int kTilesPerStep = 56;

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
    const int rows = rows_per_step(w);
    steps_ = std::max(steps_, (w.rows.size() + rows - 1) / rows);
  }

  Progress now = start();
  for (int step = 0; step < steps_; ++step) {
    const Progress before = now;
    advance(step, now);
    const auto keep = [&](int value, int from) {
      Kept& kept = kept_[index(value)];
      kept.capacity = std::max(kept.capacity, now.done[index(value)] - std::max(from, kept.rows.lo));
    };
    for (int n : stage_.nodes) {
      const Node& node = stage_.program.nodes()[index(n)];
      const Kept& kept = kept_[index(node.value)];
      const int from = before.done[index(node.value)];
      if (from >= kept.rows.hi) continue;
      keep(node.value, from);
      for_reads(node, [&](const Ref& source, bool is_addend) {
        if (local(source.value)) {
          keep(source.value, node.reads(source, is_addend, {from, from + 1}).lo);
        }
      });
    }
    for (std::size_t i = 0; i < wanted_.size(); ++i) keep(wanted_[i].value, before.delivered[i]);
  }
}

int Region::rows_per_step(const Wanted& wanted) const {
  const Value& value = stage_.program.values()[index(wanted.value)];
  return std::max(1, step_rows_ * value.scale / value.divisor);
}

Region::Progress Region::start() const {
  Progress progress;
  for (const Kept& kept : kept_) progress.done.push_back(kept.rows.lo);
  for (const Wanted& wanted : wanted_) progress.delivered.push_back(wanted.rows.lo);
  return progress;
}

void Region::advance(int step, Progress& progress) const {
  std::vector<int>& done = progress.done;
  std::vector<int>& delivered = progress.delivered;
  std::vector<int> need = done;
  for (std::size_t i = 0; i < wanted_.size(); ++i) {
    const Wanted& wanted = wanted_[i];
    const int reached = wanted.rows.lo + (step + 1) * rows_per_step(wanted);
    delivered[i] = step + 1 == steps_ ? wanted.rows.hi : std::min(wanted.rows.hi, reached);
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
  Scratch scratch{arena.take(scratch_), 1};

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

  Progress now = start();
  for (int step = 0; step < steps_; ++step) {
    if (stop.load(std::memory_order_relaxed)) return false;
    const Progress before = now;
    advance(step, now);
    for (int n : stage_.nodes) {
      const Node& node = stage_.program.nodes()[index(n)];
      const std::size_t v = index(node.value);
      const Range rows{before.done[v], now.done[v]};
      if (rows.empty()) continue;
      const Range columns = kept_[v].columns;
      if (node.kind == Kind::input) {
        const int channels = stage_.program.channels(node.value);
        for (int y = rows.lo; y < rows.hi; ++y) {
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
      run_node({kernels, node, values, gate, rows, columns, scratch});
    }
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
      const Range ready{before.delivered[i], now.delivered[i]};
      if (!ready.empty()) deliver(i, values[index(wanted_[i].value)], ready);
    }
    progress(1.0 / steps_);
  }
  return true;
}

}  // namespace waifu2x::engine
