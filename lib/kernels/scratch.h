#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace espalier {

constexpr size_t kLineBytes = 64;
/// Whether memory begins at a cache line: a long vector that straddles two takes twice the time.
inline bool at_line(const float* memory) {
  return reinterpret_cast<uintptr_t>(memory) % kLineBytes == 0;
}

/// Memory for floats that grows with need and begins at a cache line, so that no vector in it
/// straddles two. What it held is lost when it grows.
class Scratch {
 public:
  float* floats(size_t count) {
    if (count > count_) {
      memory_.reset(static_cast<float*>(::operator new(count * sizeof(float), kLine)));
      count_ = count;
    }
    return memory_.get();
  }

 private:
  static constexpr std::align_val_t kLine{kLineBytes};
  struct Free {
    void operator()(float* memory) const { ::operator delete(memory, kLine); }
  };
  std::unique_ptr<float, Free> memory_;
  size_t count_ = 0;
};

}  // namespace espalier
