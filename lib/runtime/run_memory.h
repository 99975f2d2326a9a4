#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "lib/runtime/memory_plan.h"

namespace espalier {

/// Memory aligned to kMemoryAlignment.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t bytes);
  std::byte* data() const { return data_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* data) const;
  };
  std::unique_ptr<std::byte, Free> data_;
  size_t bytes_ = 0;
};

/// Memory for the values and the scratch of one graph. The first run takes pieces from the heap and
/// records their sizes and lifetimes; later runs find them planned in one block. A run that asks
/// for something else than was recorded leaves the plan and is right all the same.
class RunMemory {
 public:
  /// Pieces may together be `byte_limit` long at a time.
  explicit RunMemory(size_t byte_limit) : byte_limit_(byte_limit) {}

  /// Begins a run; `same_shapes` says that the inputs have the shapes of the last run.
  void start(bool same_shapes);

  /// A piece in use from step `step` to `last`; kForever: until the next start(). Gives its number.
  /// Errors  Fault::kUnsupported where the limit is passed.
  static constexpr size_t kForever = SIZE_MAX;
  size_t allocate(size_t bytes, size_t step, size_t last);
  std::byte* data(size_t piece) const { return pieces_[piece].data; }
  /// Keeps a piece in use until `last` at least.
  void extend(size_t piece, size_t last);
  void end_step(size_t step);
  void finish();

  /// What the last run held at its peak, or what is planned.
  size_t bytes() const;

 private:
  struct Piece {
    Lifetime lifetime;
    std::byte* data = nullptr;
    AlignedBuffer buffer;  // while it is not part of the block
  };

  size_t byte_limit_;
  bool recording_ = true;
  bool diverged_ = false;
  std::vector<Lifetime> recorded_;
  MemoryPlan plan_;
  bool planned_ = false;
  AlignedBuffer block_;
  std::vector<Piece> pieces_;
  std::vector<size_t> live_;  // pieces on the heap
  size_t heap_bytes_ = 0, peak_ = 0;
};

/// Bytes of memory that this machine has.
size_t physical_memory();

}  // namespace espalier
