// Memory aligned for any register and any cache line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace waifu2x::engine {

inline constexpr std::size_t kAlignment = 64;

// A block of floats; contents undefined until written. Moves, does not copy.
class Floats {
 public:
  Floats() = default;
  explicit Floats(std::size_t count) : size_(count) {
    if (count == 0) return;
    if (count > SIZE_MAX / sizeof(float) - kHugePage) throw std::bad_alloc();
    data_ = static_cast<float*>(::operator new(count * sizeof(float), alignment()));
#if defined(__linux__)
    // Weights and batches of tiles are read all over at once: fewer pages, fewer misses. Where huge
    // pages are switched off nothing comes of it.
    if (is_huge()) madvise(data_, count * sizeof(float), MADV_HUGEPAGE);
#endif
  }
  Floats(Floats&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Floats& operator=(Floats&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Floats() {
    if (data_ != nullptr) ::operator delete(data_, alignment());
  }

  float* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;

  bool is_huge() const { return size_ * sizeof(float) >= kHugePage; }
  std::align_val_t alignment() const {
    return std::align_val_t{is_huge() ? kHugePage : kAlignment};
  }

  float* data_ = nullptr;
  std::size_t size_ = 0;
};

// Grows to the largest size asked for and is handed out piece by piece.
class Arena {
 public:
  // Discards everything handed out before.
  void reset(std::size_t floats) {
    if (memory_.size() < floats) {
      memory_ = Floats();  // free the old one first
      memory_ = Floats(floats);
    }
    used_ = 0;
  }
  float* take(std::size_t floats) {
    float* p = memory_.data() + used_;
    used_ += rounded(floats);
    return p;
  }
  std::size_t capacity() const { return memory_.size(); }
  void release() { memory_ = Floats(); }

  static std::size_t rounded(std::size_t floats) {
    constexpr std::size_t kLine = kAlignment / sizeof(float);
    return (floats + kLine - 1) / kLine * kLine;
  }

 private:
  Floats memory_;
  std::size_t used_ = 0;
};

}  // namespace waifu2x::engine
