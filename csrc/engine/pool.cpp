#include "engine/pool.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <unistd.h>
#endif

namespace waifu2x::engine {
namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(50);

long process_id() {
#if defined(_WIN32)
  return 0;  // no fork
#else
  return static_cast<long>(getpid());
#endif
}

struct Job {
  Job(int n, const Pool::Task& t) : count(n), task(t) {}

  const int count;
  const Pool::Task& task;
  std::atomic<bool> stop{false};
  // Guarded by State::mutex.
  int next = 0;
  int running = 0;
  std::exception_ptr error;

  bool done() const { return running == 0 && (next >= count || stop); }
};

}  // namespace

struct Pool::State {
  explicit State(int threads) : owner(process_id()) {
    try {
      workers.reserve(static_cast<std::size_t>(threads));
      for (int i = 0; i < threads; ++i) workers.emplace_back([this] { work(); });
    } catch (const std::system_error& error) {
      const std::size_t started = workers.size();
      close();
      throw std::runtime_error("the system started only " + std::to_string(started) + " of " +
                               std::to_string(threads) + " threads; give fewer with `threads=`");
    } catch (...) {
      close();
      throw;
    }
  }

  ~State() { close(); }

  void close() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      closing = true;
    }
    wake.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void work() {
    Worker worker;
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      wake.wait(lock, [this] { return closing || !jobs.empty(); });
      if (closing) return;
      // Round-robin over the runs: a large run must not starve a small one.
      Job& job = *jobs.front();
      jobs.pop_front();
      const int index = job.next++;
      if (job.next < job.count && !job.stop) jobs.push_back(&job);
      ++job.running;
      lock.unlock();
      std::exception_ptr error;
      try {
        if (!job.stop) job.task(index, worker, job.stop);
      } catch (...) {
        error = std::current_exception();
      }
      worker.arena.trim();
      lock.lock();
      --job.running;
      if (error && !job.error) {
        job.error = error;
        halt(job);
      }
      if (job.done()) ended.notify_all();
    }
  }

  // Prevents further tasks of a job from starting. The caller holds the mutex.
  void halt(Job& job) {
    job.stop = true;
    jobs.erase(std::remove(jobs.begin(), jobs.end(), &job), jobs.end());
  }

  const long owner;
  std::mutex mutex;
  std::condition_variable wake;
  std::condition_variable ended;
  std::deque<Job*> jobs;
  bool closing = false;
  std::vector<std::thread> workers;
};

Pool::Pool(int threads) : threads_(std::max(threads, 1)) {}

Pool::~Pool() {
  State* state = state_.load();
  // After fork() the threads belong to the parent process and cannot be joined.
  if (state != nullptr && state->owner == process_id()) delete state;
}

Pool::State& Pool::state() {
  State* current = state_.load(std::memory_order_acquire);
  while (current == nullptr || current->owner != process_id()) {
    // A forked child leaks the parent's state: its mutex may never be released.
    auto fresh = std::make_unique<State>(threads_);
    if (state_.compare_exchange_strong(current, fresh.get())) return *fresh.release();
  }
  return *current;
}

bool Pool::run(int count, const Task& task, const Poll& poll) {
  if (count <= 0) return true;
  State& pool = state();
  Job job(count, task);
  std::unique_lock<std::mutex> lock(pool.mutex);
  pool.jobs.push_back(&job);
  lock.unlock();
  pool.wake.notify_all();
  lock.lock();
  bool stopped = false;
  std::exception_ptr error;
  while (!pool.ended.wait_for(lock, kPollInterval, [&job] { return job.done(); })) {
    if (job.stop || !poll) continue;
    lock.unlock();
    try {
      stopped = poll();
    } catch (...) {
      error = std::current_exception();
      stopped = true;
    }
    lock.lock();
    if (stopped) pool.halt(job);
  }
  if (!error) error = job.error;
  lock.unlock();
  if (error) std::rethrow_exception(error);
  return !stopped;
}

}  // namespace waifu2x::engine
