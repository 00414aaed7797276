// Threads that compute one region together, in phases with equal parts.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace waifu2x::engine {

// One of several equal parts.
struct Part {
  int index = 0;
  int count = 1;
};

// A member that is late, because other runs keep the workers of the pool busy or the system runs
// another program, is not waited for: the others compute its part.
class Team {
  // Cache lines of their own: the threads write to different seats.
  struct alignas(64) Seat {
    std::atomic<std::int64_t> taken{0};  // phases whose part was taken
  };

 public:
  explicit Team(int members)
      : members_(members), seats_(new Seat[static_cast<std::size_t>(members)]) {}

  // A thread of the team. All members pass the same phases.
  class Member {
   public:
    // stop: becomes true when the run is cancelled.
    Member(Team& team, int part, const std::atomic<bool>& stop)
        : team_(team), part_(part), stop_(stop) {}

    // Calls work(Part) for the own part of the next phase, and then for parts that nobody has begun.
    // Returns when all parts are complete, or false if the run is stopped.
    template <class Work>
    bool phase(Work work) {
      const std::int64_t members = team_.members_;
      for (int i = 0; i < team_.members_; ++i) take((part_ + i) % team_.members_, work);
      ++phase_;
      for (int spins = 0; team_.complete_.load(std::memory_order_acquire) < phase_ * members;
           ++spins) {
        if (stop_.load(std::memory_order_relaxed)) return false;
        if (spins < kSpins) {
          pause();
        } else {
          std::this_thread::yield();
        }
      }
      return !stop_.load(std::memory_order_relaxed);
    }

   private:
    template <class Work>
    void take(int part, Work& work) {
      std::int64_t expected = phase_;
      if (!seat(part).taken.compare_exchange_strong(expected, phase_ + 1,
                                                    std::memory_order_relaxed)) {
        return;
      }
      work(Part{part, team_.members_});
      team_.complete_.fetch_add(1, std::memory_order_release);
    }

    Seat& seat(int part) const { return team_.seats_[static_cast<std::size_t>(part)]; }

    Team& team_;
    const int part_;
    const std::atomic<bool>& stop_;
    std::int64_t phase_ = 0;
  };

 private:
  // About 50 microseconds: longer than most phases take, and shorter than a time slice.
  static constexpr int kSpins = 1000;

  static void pause() {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__) && !defined(_MSC_VER)
    __asm__ __volatile__("yield");
#endif
  }

  const int members_;
  const std::unique_ptr<Seat[]> seats_;
  alignas(64) std::atomic<std::int64_t> complete_{0};  // parts of all phases
};

}  // namespace waifu2x::engine
