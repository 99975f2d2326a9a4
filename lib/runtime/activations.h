#pragma once

#include <cstddef>
#include <deque>
#include <vector>

#include "lib/runtime/memory_plan.h"
#include "lib/tensor/tensor.h"

namespace espalier {

/// Memory for values and scratch of a run. The first run with new shapes takes each piece from the
/// heap and writes down its size and life; then one arena holds them all, and runs of equal shapes
/// allocate nothing. A request that the plan does not foresee (shapes that depend on data) gets
/// heap memory for this run, and the next run is written down anew.
class Activations {
 public:
  /// Starts a run. `same_shapes`: the inputs have the extents of the run before.
  void begin(bool same_shapes);
  /// Memory, aligned to 64 bytes. `tag` tells the requests of a step apart: output k is k + 1,
  /// scratch 0. Gives the piece's number for extend().
  /// Errors  Fault::kUnsupported where the run would take more than the machine's memory.
  std::byte* take(size_t step, size_t tag, size_t bytes, size_t& piece);
  /// Piece `piece` is needed until `step`.
  void extend(size_t piece, size_t step);
  /// Ends a run that went well; plans, where it was written down.
  void end();

  /// Whether pieces may still be given a longer life: not once an arena is planned for this run.
  bool recording() const { return recording_; }
  size_t bytes() const { return arena_.count(); }

 private:
  std::byte* from_heap(size_t bytes);

  bool recording_ = true, foreseen_ = false;
  std::vector<Lifetime> lives_;
  std::vector<size_t> tags_;
  MemoryPlan plan_;
  Tensor arena_;
  std::deque<Tensor> heap_;
  size_t heap_bytes_ = 0;
  size_t next_ = 0;
};

}  // namespace espalier
