// Threads that wait for work and sleep while there is none.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>

#include "engine/memory.h"

namespace waifu2x::engine {

// What one worker keeps from task to task.
struct Worker {
  Arena arena;
};

class Pool {
 public:
  // task(index, worker, stop): stop turns true when the rest is not wanted any more; a task looks
  // at it now and then and returns early.
  using Task = std::function<void(int, Worker&, const std::atomic<bool>&)>;
  // Called from the calling thread a few times a second while it waits; true stops the run.
  using Poll = std::function<bool()>;

  // threads >= 1; they start with the first run.
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }

  // Whoever is about to run tasks holds one, from before the first run to after the last.
  class Visit {
   public:
    explicit Visit(Pool& pool) : pool_(pool) { ++pool_.visitors_; }
    ~Visit() { --pool_.visitors_; }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

    // Threads for each visitor, if they were shared out now; at least 1.
    int share() const { return std::max(1, pool_.threads_ / std::max(1, pool_.visitors_.load())); }

   private:
    Pool& pool_;
  };

  // Runs task 0 to count - 1 and returns when all have ended, or those begun when stopped. May be
  // called from several threads at once; runs then share the workers. Rethrows the first exception
  // of a task or of poll, after the others have ended. Returns false if poll stopped it. Throws
  // std::runtime_error if the threads cannot be started.
  //
  // Safe after fork(): a child has no workers and starts its own.
  bool run(int count, const Task& task, const Poll& poll);

 private:
  struct State;
  State& state();

  const int threads_;
  std::atomic<int> visitors_{0};
  std::atomic<State*> state_{nullptr};
};

}  // namespace waifu2x::engine
