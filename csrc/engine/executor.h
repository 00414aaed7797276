// Runs a program over a picture. Each region of the picture is one task, streamed through ring
// buffers of rows, so memory grows with the width of a region and not with the picture. All threads
// compute a small picture together, as one region.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/io.h"
#include "engine/pool.h"
#include "engine/program.h"
#include "engine/rows.h"

namespace waifu2x::engine {

// Buffers for one size of input.
struct Buffers {
  int height = 0;
  int width = 0;
  // Full-size buffers of the values that outlive their stage.
  std::vector<Floats> memory;  // shared by values that are not needed at the same time
  std::vector<int> slots;      // by value: index into memory; -1 if no later stage reads the value
  Arena rings;                 // of a region that several threads compute
};

// Reuses buffers from run to run: faulting in fresh pages costs as much as a small network.
class BufferCache {
 public:
  std::unique_ptr<Buffers> take(int height, int width);
  void give_back(std::unique_ptr<Buffers> buffers);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Buffers>> free_;
};

struct Job {
  const Program& program;
  const Kernels& kernels;
  Pool& pool;
  BufferCache& cache;
  const Source& source;
  Sink& sink;
  int height = 0;  // of the input
  int width = 0;
  Range rows{};  // of the output, for the sink
  Range columns{};
  std::vector<const float*> pooled_inputs{};  // a vector for each Pooled::Kind::input
  std::atomic<double>* progress = nullptr;    // the share done so far; may be null
  Pool::Poll poll{};
};

// Returns false if poll stopped the run. Throws std::invalid_argument for a size that the program
// does not accept, std::bad_alloc, and any exception of poll.
bool execute(const Job& job);

}  // namespace waifu2x::engine
