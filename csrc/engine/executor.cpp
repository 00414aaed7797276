#include "engine/executor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "engine/region.h"

#if !defined(_WIN32)
#include <unistd.h>
#endif

namespace waifu2x::engine {
namespace {

// Rows and columns that a region computes beyond its own, weighted by cost: about this many.
constexpr int kHalo = 6;
// Wider regions would let the rings of two cores outgrow a third cache of 32 MB.
constexpr int kWidestRegion = 384;
// Of several regions to a thread, the height at most.
constexpr int kHighestBand = 512;
// Pictures up to this many input pixels are cut among the threads that are theirs while others run:
// what is cut is computed twice along the edges, and the other pictures keep the threads busy.
constexpr int kSmallPicture = 256 * 256;
// The share of a core's second cache that the transforms of a batch of tiles may take; weights
// stream through the rest.
constexpr double kCacheShare = 0.66;

std::size_t find_second_cache() {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  const long size = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (size > 0) return static_cast<std::size_t>(size);
#endif
  return std::size_t{512} << 10;
}

// Looked up once: in a virtual machine every question to the processor takes microseconds.
std::size_t second_cache() {
  static const std::size_t bytes = find_second_cache();
  return bytes;
}

// --- the cut --------------------------------------------------------------------------------------------

struct Cut {
  int rows = 1;
  int columns = 1;
};

// The cut whose slowest thread is done first, by counting pixels with their halos. Few regions and
// wide rows of them let the top of a picture be ready early; where all threads run side by side,
// whole columns do.
Cut choose_cut(int height, int width, int threads) {
  Cut best;
  double least = 0;
  const int fewest = (width + kWidestRegion - 1) / kWidestRegion;
  for (int columns = fewest; columns <= std::max(fewest + 3, threads); ++columns) {
    const int bands = columns > threads ? (height + kHighestBand - 1) / kHighestBand : 1;
    for (int rows = bands; rows <= std::max(bands, height / 16); ++rows) {
      const double each = (std::ceil(static_cast<double>(height) / rows) + kHalo) *
                          (std::ceil(static_cast<double>(width) / columns) + kHalo);
      const double cost = std::ceil(static_cast<double>(rows) * columns / threads) * each;
      if (least == 0 || cost < least) {
        least = cost;
        best = {rows, columns};
      }
    }
  }
  return best;
}

// Part i of n of a range, on a grid that suits the tiles.
Range part(Range whole, int i, int n, int grid) {
  const auto edge = [&](int k) {
    if (k == 0) return whole.lo;
    if (k == n) return whole.hi;
    const long long at = static_cast<long long>(whole.size()) * k / n;
    return std::min(whole.hi, whole.lo + static_cast<int>((at + grid / 2) / grid * grid));
  };
  return {edge(i), edge(i + 1)};
}

// --- one picture ------------------------------------------------------------------------------------------

class Execution {
 public:
  Execution(const Job& job)
      : job_(job),
        program_(job.program),
        heights_(program_.sizes(job.height)),
        widths_(program_.sizes(job.width)),
        gates_(program_.pooled().size()),
        cache_bytes_(static_cast<std::size_t>(kCacheShare * static_cast<double>(second_cache()))) {
    const Ref out = program_.output();
    const int height = heights_[index(out.value)] - 2 * out.offset;
    const int width = widths_[index(out.value)] - 2 * out.offset;
    if (job.rows.lo < 0 || job.rows.hi > height || job.rows.empty() || job.columns.lo < 0 ||
        job.columns.hi > width || job.columns.empty()) {
      throw std::invalid_argument("the rows and columns wanted are not inside the output");
    }
    const auto& values = program_.values();
    for (const Value& value : values) carries_ = carries_ || value.carried();
    output_stage_ = values[index(out.value)].stage;
    for (int s = 0; s < program_.stages(); ++s) {
      stage_costs_.push_back(0);
      for (const Node& node : program_.nodes()) {
        if (values[index(node.value)].stage == s) {
          const std::size_t each = node.conv.weights.size() + kBlock;
          stage_costs_.back() += static_cast<double>(each) *
                                 heights_[index(node.value)] * widths_[index(node.value)];
        }
      }
      total_cost_ += stage_costs_.back();
    }
  }

  bool run() {
    if (carries_) {
      whole_ = job_.cache.take(job_.height, job_.width);
      prepare_whole();
    }
    bool finished = true;
    for (int s = 0; finished && s < program_.stages(); ++s) {
      finished = pool_vectors(s) && run_stage(s);
    }
    if (whole_ != nullptr) job_.cache.give_back(std::move(whole_));
    return finished;
  }

 private:
  void prepare_whole() {
    const auto& values = program_.values();
    whole_->memory.resize(values.size());
    for (std::size_t v = 0; v < values.size(); ++v) {
      if (!values[v].carried() || whole_->memory[v].size() > 0) continue;
      const std::size_t floats = index(heights_[v]) * index(widths_[v] + 2 * edge()) *
                                 index(values[v].blocks) * kBlock;
      whole_->memory[v] = Floats(floats);
    }
  }

  int edge() const { return program_.edge(); }

  Rows whole_rows(int v) const {
    Rows rows;
    if (whole_ == nullptr || whole_->memory[index(v)].size() == 0) return rows;
    rows.base = whole_->memory[index(v)].data();
    rows.height = rows.capacity = heights_[index(v)];
    rows.left = -edge();
    rows.width = widths_[index(v)] + 2 * edge();
    rows.row_stride = static_cast<std::ptrdiff_t>(program_.values()[index(v)].blocks) * rows.width *
                      kBlock;
    return rows;
  }

  // The vectors that a stage's nodes multiply by.
  bool pool_vectors(int stage) {
    const auto& pooled = program_.pooled();
    for (std::size_t p = 0; p < pooled.size(); ++p) {
      if (pooled[p].stage != stage) continue;
      Floats& vector = gates_[p];
      vector = Floats(index(blocks_of(pooled[p].channels)) * kBlock);
      std::fill_n(vector.data(), vector.size(), 0.0f);
      switch (pooled[p].kind) {
        case Pooled::Kind::given:
          std::copy_n(job_.givens[index(pooled[p].given)], pooled[p].channels, vector.data());
          break;
        case Pooled::Kind::mean:
          if (!mean_of(pooled[p].mean, vector.data())) return false;
          break;
        case Pooled::Kind::conv:
          convolve_vector(pooled[p], gates_[index(pooled[p].source)].data(), vector.data());
          break;
      }
    }
    return true;
  }

  static void convolve_vector(const Pooled& conv, const float* from, float* to) {
    const int in = static_cast<int>(conv.weights.size()) / conv.channels;
    for (int o = 0; o < conv.channels; ++o) {
      double sum = static_cast<double>(conv.bias.data()[o]);
      for (int i = 0; i < in; ++i) {
        sum += static_cast<double>(conv.weights.data()[o * in + i]) * static_cast<double>(from[i]);
      }
      if (sum < 0) sum *= static_cast<double>(conv.slope.data()[o]);
      to[o] = static_cast<float>(conv.sigmoid ? 1.0 / (1.0 + std::exp(-sum)) : sum);
    }
  }

  // Row sums, then their sum: the same order for any number of threads.
  bool mean_of(Ref ref, float* to) {
    const Rows rows = whole_rows(ref.value);
    const int blocks = program_.values()[index(ref.value)].blocks;
    const int height = rows.height - 2 * ref.offset;
    const int width = widths_[index(ref.value)] - 2 * ref.offset;
    const std::size_t lanes = index(blocks) * kBlock;
    std::vector<double> sums(index(height) * lanes);
    constexpr int kRows = 8;
    const bool finished = job_.pool.run(
        (height + kRows - 1) / kRows,
        [&](int task, Worker&, const std::atomic<bool>&) {
          for (int y = task * kRows; y < std::min(height, (task + 1) * kRows); ++y) {
            for (int block = 0; block < blocks; ++block) {
              job_.kernels.sum(rows.at(y + ref.offset, block, ref.offset),
                               &sums[index(y) * lanes + index(block) * kBlock], width);
            }
          }
        },
        job_.poll);
    if (!finished) return false;
    for (int c = 0; c < program_.channels(ref.value); ++c) {
      double total = 0;
      for (int y = 0; y < height; ++y) total += sums[index(y) * lanes + index(c)];
      to[c] = static_cast<float>(total / (static_cast<double>(height) * width));
    }
    return true;
  }

  bool run_stage(int s) {
    const auto& values = program_.values();
    Stage stage{program_, s, heights_, widths_, {}, {}};
    std::vector<Wanted> all;
    for (const Node& node : program_.nodes()) {
      if (values[index(node.value)].stage == s) stage.nodes.push_back(node.value);
    }
    for (std::size_t v = 0; v < values.size(); ++v) {
      const bool kept = values[v].carried();
      // Those of this stage stream through rings and are copied out.
      stage.whole.push_back(kept && values[v].stage < s ? whole_rows(static_cast<int>(v)) : Rows{});
      if (kept && values[v].stage == s) {
        all.push_back({static_cast<int>(v), {0, heights_[v]}, {0, widths_[v]}});
      }
    }
    const std::size_t carried = all.size();
    const Ref out = program_.output();
    if (output_stage_ == s) {
      all.push_back({out.value,
                     {job_.rows.lo + out.offset, job_.rows.hi + out.offset},
                     {job_.columns.lo + out.offset, job_.columns.hi + out.offset}});
    }
    if (all.empty()) return true;
    // In input pixels, so that a stage that ends in half size is cut as finely.
    const Wanted& last = all.back();
    const Value& value = values[index(last.value)];
    const int height = std::max(1, last.rows.size() * value.divisor / value.scale);
    const int width = std::max(1, last.columns.size() * value.divisor / value.scale);
    const bool small = height <= kSmallPicture / width;
    const Cut cut = choose_cut(height, width, small ? visit_.share() : job_.pool.threads());
    return job_.pool.run(
        cut.rows * cut.columns,
        [&](int task, Worker& worker, const std::atomic<bool>& stop) {
          run_region(stage, all, carried, cut, task, worker, stop);
        },
        job_.poll);
  }

  void run_region(const Stage& stage, const std::vector<Wanted>& all, std::size_t carried, Cut cut,
                  int task, Worker& worker, const std::atomic<bool>& stop) {
    std::vector<Wanted> wanted;
    for (const Wanted& w : all) {
      const Value& value = program_.values()[index(w.value)];
      const int grid = std::max(kTile, kTile * value.scale / value.divisor);
      wanted.push_back({w.value, part(w.rows, task / cut.columns, cut.rows, grid),
                        part(w.columns, task % cut.columns, cut.columns, grid)});
    }
    const Region region(stage, wanted, cache_bytes_);
    const double share = stage_costs_[index(stage.index)] / total_cost_ / (cut.rows * cut.columns);
    const auto deliver = [&](std::size_t i, const Rows& rows, Range ready) {
      if (wanted[i].columns.empty()) return;
      if (i < carried) {
        copy_whole(wanted[i], rows, ready);
      } else {
        write_output(wanted[i], rows, ready);
      }
    };
    region.run(job_.kernels, worker.arena, job_.source, gates_, deliver,
               [&](double part_done) { add_progress(part_done * share); }, stop);
  }

  void add_progress(double amount) {
    if (job_.progress == nullptr) return;
    double before = job_.progress->load(std::memory_order_relaxed);
    while (!job_.progress->compare_exchange_weak(before, before + amount,
                                                 std::memory_order_relaxed)) {
    }
  }

  void copy_whole(const Wanted& wanted, const Rows& from, Range ready) const {
    const Rows to = whole_rows(wanted.value);
    const int blocks = program_.values()[index(wanted.value)].blocks;
    const int width = widths_[index(wanted.value)];
    for (int y = ready.lo; y < ready.hi; ++y) {
      for (int block = 0; block < blocks; ++block) {
        if (wanted.columns.lo == 0) std::fill_n(to.at(y, block, -edge()), edge() * kBlock, 0.0f);
        if (wanted.columns.hi == width) std::fill_n(to.at(y, block, width), edge() * kBlock, 0.0f);
        std::memcpy(to.at(y, block, wanted.columns.lo), from.at(y, block, wanted.columns.lo),
                    index(wanted.columns.size()) * kBlock * sizeof(float));
      }
    }
  }

  void write_output(const Wanted& wanted, const Rows& rows, Range ready) const {
    const int offset = program_.output().offset;
    const int channels = program_.channels(wanted.value), n = wanted.columns.size();
    std::vector<float> planes(index(channels) * index(n));
    for (int y = ready.lo; y < ready.hi; ++y) {
      for (int c = 0; c < channels; ++c) {
        const float* from = rows.at(y, c / kBlock, wanted.columns.lo) + c % kBlock;
        float* to = planes.data() + static_cast<std::ptrdiff_t>(c) * n;
        for (int x = 0; x < n; ++x) to[x] = from[x * kBlock];
      }
      job_.sink.write(y - offset, wanted.columns.lo - offset, n, planes.data(), n);
    }
  }

  const Job& job_;
  const Pool::Visit visit_{job_.pool};
  const Program& program_;
  const std::vector<int> heights_, widths_;
  std::vector<Floats> gates_;
  const std::size_t cache_bytes_;
  bool carries_ = false;
  int output_stage_ = 0;
  std::vector<double> stage_costs_;
  double total_cost_ = 0;
  std::unique_ptr<Whole> whole_;
};

}  // namespace

// Neither waits for the other: after a fork the lock may be held for ever, and fresh memory does.
std::unique_ptr<Whole> WholeCache::take(int height, int width) {
  std::vector<std::unique_ptr<Whole>> unwanted;  // freed after the lock
  const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (lock.owns_lock()) {
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      if ((*it)->height == height && (*it)->width == width) {
        std::unique_ptr<Whole> found = std::move(*it);
        free_.erase(it);
        return found;
      }
    }
    unwanted.swap(free_);  // of another size
  }
  auto fresh = std::make_unique<Whole>();
  fresh->height = height;
  fresh->width = width;
  return fresh;
}

void WholeCache::give_back(std::unique_ptr<Whole> whole) {
  const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (lock.owns_lock()) free_.push_back(std::move(whole));
}

bool execute(const Job& job) { return Execution(job).run(); }

}  // namespace waifu2x::engine
