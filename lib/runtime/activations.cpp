#include "lib/runtime/activations.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

namespace espalier {
namespace {

size_t machine_memory() {
  static const size_t kBytes =
      static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGE_SIZE));
  return kBytes;
}

Tensor buffer(size_t bytes) { return Tensor::zeros(DType::kU8, {static_cast<int64_t>(bytes)}); }

}  // namespace

void Activations::begin(bool same_shapes) {
  recording_ = !same_shapes || !foreseen_;
  foreseen_ = true;
  next_ = 0;
  heap_.clear();
  heap_bytes_ = 0;
  if (recording_) {
    lives_.clear();
    tags_.clear();
    arena_ = {};
  }
}

std::byte* Activations::from_heap(size_t bytes) {
  if (bytes > machine_memory() - std::min(heap_bytes_, machine_memory())) {
    throw Error(Fault::kUnsupported,
                fmt::format("{} bytes are wanted beside {}, more than the machine's memory", bytes,
                            heap_bytes_));
  }
  heap_bytes_ += bytes;
  heap_.push_back(buffer(bytes));
  return heap_.back().mutable_bytes().data();
}

std::byte* Activations::take(size_t step, size_t tag, size_t bytes, size_t& piece) {
  piece = next_++;
  if (recording_) {
    lives_.push_back({bytes, step, step});
    tags_.push_back(tag);
    return from_heap(bytes);
  }
  const bool planned = piece < lives_.size() && lives_[piece].bytes == bytes &&
                       lives_[piece].first == step && tags_[piece] == tag;
  if (planned) {
    return arena_.mutable_bytes().data() + plan_.offsets[piece];
  }
  foreseen_ = false;  // later pieces of this run may still fit: their steps and sizes are checked
  return from_heap(bytes);
}

void Activations::extend(size_t piece, size_t step) {
  if (recording_) lives_[piece].last = std::max(lives_[piece].last, step);
}

void Activations::end() {
  if (!recording_) return;
  plan_ = plan_memory(lives_);
  arena_ = buffer(plan_.bytes);
  recording_ = false;
}

}  // namespace espalier
