// Memory aligned to vector registers and cache lines.
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

// An uninitialized array of floats; movable, not copyable.
class Floats {
 public:
  Floats() = default;
  explicit Floats(std::size_t count) : Floats(count, kAlignment) {}

  // Requests huge pages: fewer TLB misses for data that is read repeatedly. Data that is written
  // once is faster in normal pages.
  static Floats in_large_pages(std::size_t count) {
    constexpr std::size_t kLargePage = std::size_t{2} << 20;
    if (count * sizeof(float) < kLargePage) return Floats(count);
    Floats floats(count, kLargePage);
#if defined(__linux__)
    madvise(floats.data_, count * sizeof(float), MADV_HUGEPAGE);
#endif
    return floats;
  }

  Floats(Floats&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        alignment_(other.alignment_) {}
  Floats& operator=(Floats&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(alignment_, other.alignment_);
    return *this;
  }
  ~Floats() {
    if (data_ != nullptr) ::operator delete(data_, std::align_val_t{alignment_});
  }

  float* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  Floats(std::size_t count, std::size_t alignment) : size_(count), alignment_(alignment) {
    if (count == 0) return;
    if (count > (SIZE_MAX - alignment) / sizeof(float)) throw std::bad_alloc();
    data_ = static_cast<float*>(
        ::operator new(count * sizeof(float), std::align_val_t{alignment}));
  }

  float* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t alignment_ = kAlignment;
};

// A bump allocator; grows to the largest size requested.
class Arena {
 public:
  // Invalidates all earlier allocations.
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
  // Releases memory of more than 64 MiB, which is not kept from run to run.
  void trim() {
    constexpr std::size_t kKept = std::size_t{16} << 20;
    if (memory_.size() > kKept) memory_ = Floats();
  }

  static std::size_t rounded(std::size_t floats) {
    constexpr std::size_t kLine = kAlignment / sizeof(float);
    return (floats + kLine - 1) / kLine * kLine;
  }

 private:
  Floats memory_;
  std::size_t used_ = 0;
};

}  // namespace waifu2x::engine
