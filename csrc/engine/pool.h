// A pool of threads that sleep while there is no work.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>

#include "engine/memory.h"

namespace waifu2x::engine {

// State of a worker that persists from task to task.
struct Worker {
  Arena arena;
};

class Pool {
 public:
  // task(index, worker, stop). stop becomes true when the run is cancelled; a task polls stop and
  // returns early.
  using Task = std::function<void(int, Worker&, const std::atomic<bool>&)>;
  // Called by the waiting thread several times a second; returning true stops the run.
  using Poll = std::function<bool()>;

  // threads >= 1. The threads start with the first run.
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }

  // Counts an execution of a program as active for the lifetime of the object.
  class ActiveRun {
   public:
    explicit ActiveRun(Pool& pool) : pool_(pool) { ++pool_.active_runs_; }
    ~ActiveRun() { --pool_.active_runs_; }
    ActiveRun(const ActiveRun&) = delete;
    ActiveRun& operator=(const ActiveRun&) = delete;

    // An equal share of the threads among the active executions; at least 1.
    int thread_share() const {
      return std::max(1, pool_.threads_ / std::max(1, pool_.active_runs_.load()));
    }

   private:
    Pool& pool_;
  };

  // Runs tasks 0 to count - 1 and returns when all tasks have ended; after a stop, when all started
  // tasks have ended. Several threads may call run() at once and share the workers. Rethrows the
  // first exception of a task or of poll after the other tasks have ended. Returns false if poll
  // stopped the run. Throws std::runtime_error if the threads cannot be started.
  //
  // Safe after fork(): a child process starts its own workers.
  bool run(int count, const Task& task, const Poll& poll);

 private:
  struct State;
  State& state();

  const int threads_;
  std::atomic<int> active_runs_{0};
  std::atomic<State*> state_{nullptr};
};

}  // namespace waifu2x::engine
