// A check for ThreadSanitizer: concurrent runs on a pool, cancellation, exceptions in tasks and in
// poll, construction and destruction of pools. test_threads.py builds and runs it.
//
// Prints "threads agree" and exits with 0 if every result equals that of a run alone.

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "dispatch.h"
#include "engine/executor.h"
#include "engine/pool.h"
#include "engine/program.h"

namespace {

using namespace waifu2x::engine;

void require(bool holds, const char* what) {
  if (holds) return;
  std::printf("failed: %s\n", what);
  std::exit(1);
}

float number(int i) { return static_cast<float>((i * 7919 + 13) % 1000) / 1000.0f - 0.5f; }

struct Picture : Source, Sink {
  int height, width;
  std::vector<float> samples;

  Picture(int h, int w) : height(h), width(w), samples(static_cast<std::size_t>(3 * h * w)) {
    for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = number(static_cast<int>(i));
  }
  float* at(int c, int y, int x) { return samples.data() + (c * height + y) * width + x; }
  void read(int y, int x, int n, float* planes, std::ptrdiff_t stride) const override {
    for (int c = 0; c < 3; ++c) {
      std::memcpy(planes + c * stride, const_cast<Picture*>(this)->at(c, y, x),
                  static_cast<std::size_t>(n) * sizeof(float));
    }
  }
  void write(int y, int x, int n, const float* planes, std::ptrdiff_t stride) override {
    for (int c = 0; c < 3; ++c) {
      std::memcpy(at(c, y, x), planes + c * stride, static_cast<std::size_t>(n) * sizeof(float));
    }
  }
};

// A network that uses all state shared by threads: stage buffers, a mean, gates applied by a node
// of their own and by a convolution, a pixel shuffle.
struct Network {
  Program program{3};
  BufferCache cache;
  std::vector<float> weight;

  // A halo makes the threads compute a region together.
  explicit Network(int halo) : weight(40 * 40 * 16) {
    for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = number(static_cast<int>(i)) / 16;
    const int first = conv({0, 0}, 3, 40, 3, 1, {});
    const int mean = program.mean({first, 0});
    const int gate = program.pooled_conv(mean, spec_of(40, 40, 1, 0), true);
    const int gated = program.multiply({first, 0}, gate);
    const int next = conv({gated, 0}, 40, 40, 3, 1, {first, 0}, gate);
    const int up = program.upsample({conv({next, 0}, 40, 3, 1, 0, {}), 0}, 2);
    // A transposed convolution of kernel 4, stride 2 and padding 1.
    Program::ConvSpec spec = spec_of(40, 12, 2, 1);
    spec.shuffle = 2;
    spec.crop = 1;
    const int wide = program.conv({{next, 0}}, spec, -1, {}, {});
    program.finish({program.add({wide, 0}, {up, 0}), 0}, halo);
  }
  Program::ConvSpec spec_of(int in, int out, int kernel, int padding) const {
    Program::ConvSpec spec = {};
    spec.weight = spec.bias = spec.slope = weight.data();
    spec.in = in;
    spec.out = out;
    spec.kernel = kernel;
    spec.stride = 1;
    spec.padding = padding;
    return spec;
  }
  int conv(Ref source, int in, int out, int kernel, int padding, Ref addend,
           int gate = -1) {
    return program.conv({source}, spec_of(in, out, kernel, padding), gate, {}, addend);
  }
};

bool run(Network& network, Pool& pool, Picture& from, Picture& to, std::atomic<double>* progress,
         const Pool::Poll& poll) {
  Job job{network.program, waifu2x::best_level().kernels.engine, pool, network.cache, from, to};
  job.height = from.height;
  job.width = from.width;
  job.rows = {0, to.height};
  job.columns = {0, to.width};
  job.progress = progress;
  job.poll = poll;
  return execute(job);
}

void check_runs(int halo) {
  Network network(halo);
  Pool pool(3);
  constexpr int kSizes[][2] = {{20, 31}, {47, 33}, {20, 31}, {64, 70}};
  std::vector<std::thread> threads;
  for (const auto& size : kSizes) {
    threads.emplace_back([&network, &pool, &size] {
      Picture from(size[0], size[1]), want(2 * size[0], 2 * size[1]);
      Pool alone(1);
      require(run(network, alone, from, want, nullptr, {}), "a run alone ends");
      for (int round = 0; round < 6; ++round) {
        Picture to(2 * size[0], 2 * size[1]);
        std::atomic<double> progress{0};
        require(run(network, pool, from, to, &progress, [] { return false; }), "a run ends");
        require(to.samples == want.samples, "a run among others gives the bytes of one alone");
        require(progress > 0.99 && progress < 1.01, "the shares add up to the whole");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Takes long enough for poll to be called.
void nap(const std::atomic<bool>& stop) {
  for (int i = 0; i < 20 && !stop; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

void check_stopping() {
  Pool pool(2);
  std::vector<std::thread> threads;
  for (int kind = 0; kind < 4; ++kind) {
    threads.emplace_back([&pool, kind] {
      std::atomic<int> begun{0}, running{0};
      const Pool::Task task = [&](int index, Worker&, const std::atomic<bool>& stop) {
        ++begun;
        ++running;
        nap(stop);
        --running;
        if (kind == 2 && index == 1) throw std::runtime_error("task");
      };
      const Pool::Poll poll = [&]() -> bool {
        if (kind == 3) throw std::runtime_error("poll");
        return kind == 1;
      };
      std::string said;
      bool ended = false;
      try {
        ended = pool.run(kind == 0 ? 6 : 40, task, poll);
      } catch (const std::runtime_error& error) {
        said = error.what();
      }
      require(running == 0, "no task runs on when its run has ended");
      if (kind == 0) require(ended && begun == 6, "all tasks of a run are run");
      if (kind == 1) require(!ended && begun < 40, "poll stops a run");
      if (kind == 2) require(said == "task" && begun < 40, "run rethrows the exception of a task");
      if (kind == 3) require(said == "poll" && begun < 40, "run rethrows the exception of poll");
    });
  }
  for (std::thread& thread : threads) thread.join();
}

void check_stopped_networks(int halo) {
  Network network(halo);
  Pool pool(2);
  Picture from(300, 200), to(600, 400);
  for (int round = 0; round < 3; ++round) {
    std::atomic<double> progress{0};
    run(network, pool, from, to, &progress, [&] { return progress > 0.02; });
    Picture small(20, 20), one(40, 40), other(40, 40);
    require(run(network, pool, small, one, nullptr, {}), "a run after a stopped one ends");
    require(run(network, pool, small, other, nullptr, {}), "and another");
    require(one.samples == other.samples, "a stopped run leaves nothing behind");
  }
}

void check_pools_that_come_and_go() {
  for (int round = 0; round < 20; ++round) {
    Pool unused(4);
    auto pool = std::make_unique<Pool>(3);
    std::atomic<int> sum{0};
    // The first runs of a pool race to start its threads.
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] {
        pool->run(5, [&](int index, Worker&, const std::atomic<bool>&) { sum += index; }, {});
      });
    }
    for (std::thread& thread : threads) thread.join();
    require(sum == 30, "every task is run once");
    require(pool->run(0, {}, {}), "a run without tasks returns true");
  }
}

}  // namespace

int main() {
  for (const int halo : {0, 8}) check_runs(halo);
  check_stopping();
  for (const int halo : {0, 20}) check_stopped_networks(halo);
  check_pools_that_come_and_go();
  std::printf("threads agree\n");
  return 0;
}
