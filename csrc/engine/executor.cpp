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

// Ring buffers of wider regions, on two cores, would exceed a 32 MB L3 cache.
constexpr int kMaxRegionWidth = 384;
// Each Winograd layer that pads extends a region by a tile on either side. The columns that are
// computed twice then cost more than ring buffers in main memory, up to this size.
constexpr int kMaxPaddedRegionWidth = 1024;
constexpr std::size_t kMaxRingBytes = std::size_t{48} << 20;
// Maximum height of a region if a thread computes several.
constexpr int kMaxBandHeight = 512;
// A smaller picture is split only among its share of the threads while other runs are active:
// halos are computed twice, and the other runs keep the remaining threads busy.
constexpr int kSmallPicturePixels = 256 * 256;
// Time that threads of a team take for a pixel, compared with threads that do not wait for others.
constexpr double kTeamCost = 1.01;
// Share of a core's L2 cache for the Winograd transforms of a batch of tiles. Weights stream
// through the rest.
constexpr double kL2Share = 0.66;

std::size_t query_l2_bytes() {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  const long size = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (size > 0) return static_cast<std::size_t>(size);
#endif
  return std::size_t{512} << 10;
}

// Cached: in a virtual machine each cpuid traps and takes microseconds.
std::size_t l2_bytes() {
  static const std::size_t bytes = query_l2_bytes();
  return bytes;
}

// --- partition -----------------------------------------------------------------------------------

struct Partition {
  int rows = 1;
  int columns = 1;
  int team = 1;  // threads that compute a region together

  int regions() const { return rows * columns; }
};

// Minimizes the pixels, halos included, that the busiest thread computes. Columns that all run at
// once may span the full height. Otherwise max_height limits the height of a region. All threads
// compute one region together if their own regions would compute too many pixels twice.
Partition choose_partition(int height, int width, int threads, int halo, int max_width,
                           int max_height) {
  Partition best;
  double least = 0;
  const int min_columns = (width + max_width - 1) / max_width;
  for (int columns = min_columns; columns <= std::max(min_columns + 3, threads); ++columns) {
    const int bands = columns > threads ? (height + max_height - 1) / max_height : 1;
    for (int rows = bands; rows <= std::max(bands, height / 16); ++rows) {
      const double each = (std::ceil(static_cast<double>(height) / rows) + halo) *
                          (std::ceil(static_cast<double>(width) / columns) + halo);
      const double cost = std::ceil(static_cast<double>(rows) * columns / threads) * each;
      if (least == 0 || cost < least) {
        least = cost;
        best = {rows, columns};
      }
    }
  }
  const double together = static_cast<double>(height + halo) * (width + halo) / threads;
  if (threads > 1 && best.regions() <= threads && kTeamCost * together < least) {
    return {1, 1, threads};
  }
  return best;
}

// Part i of n equal parts of a range; inner boundaries are rounded to multiples of `grid`.
Range split(Range range, int i, int n, int grid) {
  const auto boundary = [&](int k) {
    if (k == 0) return range.lo;
    if (k == n) return range.hi;
    const long long at = static_cast<long long>(range.size()) * k / n;
    return std::min(range.hi, range.lo + static_cast<int>((at + grid / 2) / grid * grid));
  };
  return {boundary(i), boundary(i + 1)};
}

// --- execution -----------------------------------------------------------------------------------

class Execution {
 public:
  Execution(const Job& job)
      : job_(job),
        program_(job.program),
        heights_(program_.sizes(job.height)),
        widths_(program_.sizes(job.width)),
        vectors_(program_.pooled().size()),
        transform_bytes_(static_cast<std::size_t>(kL2Share * static_cast<double>(l2_bytes()))) {
    const Ref out = program_.output();
    const int height = heights_[index(out.value)] - 2 * out.offset;
    const int width = widths_[index(out.value)] - 2 * out.offset;
    if (job.rows.lo < 0 || job.rows.hi > height || job.rows.empty() || job.columns.lo < 0 ||
        job.columns.hi > width || job.columns.empty()) {
      throw std::invalid_argument("the requested rows and columns are not inside the output");
    }
    const auto& values = program_.values();
    for (const Value& value : values) has_stage_buffers_ |= value.outlives_stage();
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
    buffers_ = job_.cache.take(job_.height, job_.width);
    if (has_stage_buffers_) allocate_buffers();
    bool finished = true;
    for (int s = 0; finished && s < program_.stages(); ++s) {
      finished = compute_vectors(s) && run_stage(s);
    }
    buffers_->rings.trim();
    job_.cache.give_back(std::move(buffers_));
    return finished;
  }

 private:
  void allocate_buffers() {
    const auto& values = program_.values();
    if (!buffers_->slots.empty()) return;
    buffers_->slots.assign(values.size(), -1);
    std::vector<int> occupied_until;  // by slot: the last stage that reads its value
    for (std::size_t v = 0; v < values.size(); ++v) {
      if (!values[v].outlives_stage()) continue;
      const std::size_t floats = index(heights_[v]) * index(widths_[v] + 2 * border()) *
                                 index(values[v].blocks) * kBlock;
      std::size_t slot = 0;
      while (slot < occupied_until.size() && (occupied_until[slot] >= values[v].stage ||
                                              buffers_->memory[slot].size() != floats)) {
        ++slot;
      }
      if (slot == occupied_until.size()) {
        buffers_->memory.push_back(Floats(floats));
        occupied_until.push_back(0);
      }
      occupied_until[slot] = values[v].last_use;
      buffers_->slots[v] = static_cast<int>(slot);
    }
  }

  int border() const { return program_.border(); }

  Rows buffered_rows(int v) const {
    Rows rows;
    const int slot = has_stage_buffers_ ? buffers_->slots[index(v)] : -1;
    if (slot < 0) return rows;
    rows.base = buffers_->memory[index(slot)].data();
    rows.height = rows.capacity = heights_[index(v)];
    rows.left = -border();
    rows.width = widths_[index(v)] + 2 * border();
    rows.row_stride = static_cast<std::ptrdiff_t>(program_.values()[index(v)].blocks) * rows.width *
                      kBlock;
    return rows;
  }

  // Computes the pooled vectors that become available before a stage.
  bool compute_vectors(int stage) {
    const auto& pooled = program_.pooled();
    for (std::size_t p = 0; p < pooled.size(); ++p) {
      if (pooled[p].stage != stage) continue;
      Floats& vector = vectors_[p];
      vector = Floats(index(blocks_of(pooled[p].channels)) * kBlock);
      std::fill_n(vector.data(), vector.size(), 0.0f);
      switch (pooled[p].kind) {
        case Pooled::Kind::input:
          std::copy_n(job_.pooled_inputs[index(pooled[p].input)], pooled[p].channels,
                      vector.data());
          break;
        case Pooled::Kind::mean:
          if (!compute_mean(pooled[p].mean, vector.data())) return false;
          break;
        case Pooled::Kind::conv:
          convolve_vector(pooled[p], vectors_[index(pooled[p].source)].data(), vector.data());
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

  // Sums rows first and then the row sums: one fixed order for any number of threads.
  bool compute_mean(Ref ref, float* to) {
    const Rows rows = buffered_rows(ref.value);
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
    std::vector<RegionOutput> all;
    for (const Node& node : program_.nodes()) {
      if (program_.computes(s, node.value)) stage.nodes.push_back(node.value);
    }
    for (std::size_t v = 0; v < values.size(); ++v) {
      const bool buffered = values[v].outlives_stage();
      // Values of this stage stream through ring buffers and are then copied.
      stage.buffered.push_back(buffered && values[v].stage < s ? buffered_rows(static_cast<int>(v))
                                                               : Rows{});
      if (buffered && values[v].stage == s) {
        all.push_back({static_cast<int>(v), {0, heights_[v]}, {0, widths_[v]}});
      }
    }
    const std::size_t buffered = all.size();
    const Ref out = program_.output();
    if (output_stage_ == s) {
      all.push_back({out.value,
                     {job_.rows.lo + out.offset, job_.rows.hi + out.offset},
                     {job_.columns.lo + out.offset, job_.columns.hi + out.offset}});
    }
    if (all.empty()) return true;
    // In input pixels: a stage that ends at half size is partitioned just as finely.
    const RegionOutput& last = all.back();
    const Value& value = values[index(last.value)];
    const int height = std::max(1, last.rows.size() * value.divisor / value.scale);
    const int width = std::max(1, last.columns.size() * value.divisor / value.scale);
    const bool small = height <= kSmallPicturePixels / width;
    const int threads = small ? active_run_.thread_share() : job_.pool.threads();
    // Only the last stage completes rows of the output: bands would not make the first any earlier.
    const int max_height = program_.stages() > 1 ? height : kMaxBandHeight;
    const Partition partition = choose_partition(height, width, threads, program_.halo(),
                                                 max_region_width(stage), max_height);
    if (partition.team > 1) return run_together(stage, all, buffered, partition);
    return job_.pool.run(
        partition.regions(),
        [&](int task, Worker& worker, const std::atomic<bool>& stop) {
          run_region(stage, all, buffered, partition, task, worker, stop);
        },
        job_.poll);
  }

  bool run_together(const Stage& stage, const std::vector<RegionOutput>& outputs,
                    std::size_t buffered, Partition partition) {
    const Region region(job_.kernels, stage, outputs, transform_bytes_, partition.team);
    buffers_->rings.reset(region.shared_floats());
    float* const rings = buffers_->rings.take(region.shared_floats());
    Team team(partition.team);
    return job_.pool.run(
        partition.team,
        [&](int task, Worker& worker, const std::atomic<bool>& stop) {
          worker.arena.reset(region.member_floats());
          Team::Member member(team, task, stop);
          run_member(region, outputs, buffered, partition, member, rings,
                     worker.arena.take(region.member_floats()));
        },
        job_.poll);
  }

  // In input pixels. A ring buffer holds about a row of tiles and the context of the next.
  int max_region_width(const Stage& stage) const {
    bool pads = false;
    double bytes = 0;  // of a column
    for (const int n : stage.nodes) {
      const Node& node = program_.nodes()[index(n)];
      const Value& value = program_.values()[index(node.value)];
      pads |= node.conv.padding > 0;
      bytes += static_cast<double>(value.blocks) * kBlock * sizeof(float) * (kTile + kTileIn) *
               value.scale / value.divisor;
    }
    if (!pads) return kMaxRegionWidth;
    return std::clamp(static_cast<int>(static_cast<double>(kMaxRingBytes) / bytes),
                      kMaxRegionWidth, kMaxPaddedRegionWidth);
  }

  // The first `buffered` of all outputs go to stage buffers; the last may be the program's output.
  void run_region(const Stage& stage, const std::vector<RegionOutput>& all, std::size_t buffered,
                  Partition partition, int task, Worker& worker, const std::atomic<bool>& stop) {
    std::vector<RegionOutput> outputs;
    for (const RegionOutput& output : all) {
      const Value& value = program_.values()[index(output.value)];
      const int grid = std::max(kTile, kTile * value.scale / value.divisor);
      outputs.push_back(
          {output.value, split(output.rows, task / partition.columns, partition.rows, grid),
           split(output.columns, task % partition.columns, partition.columns, grid)});
    }
    const Region region(job_.kernels, stage, outputs, transform_bytes_, 1);
    worker.arena.reset(region.shared_floats() + region.member_floats());
    float* const rings = worker.arena.take(region.shared_floats());
    Team team(1);
    Team::Member member(team, 0, stop);
    run_member(region, outputs, buffered, partition, member, rings,
               worker.arena.take(region.member_floats()));
  }

  void run_member(const Region& region, const std::vector<RegionOutput>& outputs,
                  std::size_t buffered, Partition partition, Team::Member& member, float* rings,
                  float* scratch) {
    const double share =
        stage_costs_[index(region.stage().index)] / total_cost_ / partition.regions();
    const auto deliver = [&](std::size_t i, const Rows& rows, Range ready) {
      if (outputs[i].columns.empty()) return;
      if (i < buffered) {
        copy_to_buffer(outputs[i], rows, ready);
      } else {
        write_output(outputs[i], rows, ready);
      }
    };
    region.run(member, rings, scratch, job_.source, vectors_, deliver,
               [&](double done) { add_progress(done * share); });
  }

  void add_progress(double amount) {
    if (job_.progress == nullptr) return;
    double before = job_.progress->load(std::memory_order_relaxed);
    while (!job_.progress->compare_exchange_weak(before, before + amount,
                                                 std::memory_order_relaxed)) {
    }
  }

  void copy_to_buffer(const RegionOutput& output, const Rows& from, Range ready) const {
    const Rows to = buffered_rows(output.value);
    const Range columns = output.columns;
    const int blocks = program_.values()[index(output.value)].blocks;
    const int width = widths_[index(output.value)];
    for (int y = ready.lo; y < ready.hi; ++y) {
      for (int block = 0; block < blocks; ++block) {
        if (columns.lo == 0) std::fill_n(to.at(y, block, -border()), border() * kBlock, 0.0f);
        if (columns.hi == width) std::fill_n(to.at(y, block, width), border() * kBlock, 0.0f);
        std::memcpy(to.at(y, block, columns.lo), from.at(y, block, columns.lo),
                    index(columns.size()) * kBlock * sizeof(float));
      }
    }
  }

  void write_output(const RegionOutput& output, const Rows& rows, Range ready) const {
    const int offset = program_.output().offset;
    const int channels = program_.channels(output.value), n = output.columns.size();
    std::vector<float> planes(index(channels) * index(n));
    for (int y = ready.lo; y < ready.hi; ++y) {
      for (int c = 0; c < channels; ++c) {
        const float* from = rows.at(y, c / kBlock, output.columns.lo) + c % kBlock;
        float* to = planes.data() + static_cast<std::ptrdiff_t>(c) * n;
        for (int x = 0; x < n; ++x) to[x] = from[x * kBlock];
      }
      job_.sink.write(y - offset, output.columns.lo - offset, n, planes.data(), n);
    }
  }

  const Job& job_;
  const Pool::ActiveRun active_run_{job_.pool};
  const Program& program_;
  const std::vector<int> heights_, widths_;
  std::vector<Floats> vectors_;
  const std::size_t transform_bytes_;
  bool has_stage_buffers_ = false;
  int output_stage_ = 0;
  std::vector<double> stage_costs_;
  double total_cost_ = 0;
  std::unique_ptr<Buffers> buffers_;
};

}  // namespace

// Both use try_lock: after fork() the lock may never be released. Allocating fresh buffers is a
// sound fallback.
std::unique_ptr<Buffers> BufferCache::take(int height, int width) {
  std::vector<std::unique_ptr<Buffers>> discarded;  // freed after unlocking
  const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (lock.owns_lock()) {
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      if ((*it)->height == height && (*it)->width == width) {
        std::unique_ptr<Buffers> found = std::move(*it);
        free_.erase(it);
        return found;
      }
    }
    discarded.swap(free_);  // buffers for another size
  }
  auto fresh = std::make_unique<Buffers>();
  fresh->height = height;
  fresh->width = width;
  return fresh;
}

void BufferCache::give_back(std::unique_ptr<Buffers> buffers) {
  const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (lock.owns_lock()) free_.push_back(std::move(buffers));
}

bool execute(const Job& job) { return Execution(job).run(); }

}  // namespace waifu2x::engine
