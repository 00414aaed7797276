// Runs a program over a picture: cuts it into regions, one task each, and streams every region
// through rings of rows, so that memory follows the width of a region and not the picture.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "engine/pool.h"
#include "engine/program.h"
#include "engine/rows.h"

namespace waifu2x::engine {

// Where input samples come from and where results go. Planes are rows of n floats, one for each
// channel, `stride` floats apart. Both are called from several threads at once.
struct Source {
  virtual ~Source() = default;
  virtual void read(int y, int x, int n, float* planes, std::ptrdiff_t stride) const = 0;
};
struct Sink {
  virtual ~Sink() = default;
  virtual void write(int y, int x, int n, const float* planes, std::ptrdiff_t stride) = 0;
};

// Values that outlive their stage, whole.
struct Whole {
  int height = 0;
  int width = 0;
  std::vector<Floats> memory;  // by value; empty where nothing is kept
};

// Keeps the memory of whole values from run to run: fresh pages cost as much as a small network.
class WholeCache {
 public:
  std::unique_ptr<Whole> take(int height, int width);
  void give_back(std::unique_ptr<Whole> whole);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Whole>> free_;
};

struct Job {
  const Program& program;
  const Kernels& kernels;
  Pool& pool;
  WholeCache& cache;
  int height;  // of the input
  int width;
  Range rows;  // of the output that are wanted, and written to the sink
  Range columns;
  std::vector<const float*> givens;  // one vector for each Pooled::Kind::given
  const Source& source;
  Sink& sink;
  std::atomic<double>* progress = nullptr;  // the share done, if anybody wants to know
  Pool::Poll poll;
};

// Returns false if poll stopped it. Throws std::invalid_argument for sizes the program cannot take,
// std::bad_alloc, and what poll throws.
bool execute(const Job& job);

}  // namespace waifu2x::engine
