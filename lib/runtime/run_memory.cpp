#include "lib/runtime/run_memory.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <new>

#include "lib/base/error.h"

namespace espalier {

AlignedBuffer::AlignedBuffer(size_t bytes)
    : data_(static_cast<std::byte*>(
          ::operator new (std::max<size_t>(bytes, 1), std::align_val_t{kMemoryAlignment}))),
      bytes_(bytes) {}

void AlignedBuffer::Free::operator()(std::byte* data) const {
  ::operator delete (data, std::align_val_t{kMemoryAlignment});
}

void RunMemory::start(bool same_shapes) {
  pieces_.clear();
  live_.clear();
  heap_bytes_ = 0;
  recording_ = !(same_shapes && planned_);
  diverged_ = false;
  if (recording_) {
    planned_ = false;
    recorded_.clear();
    peak_ = 0;
    block_ = {};
  } else if (block_.bytes() < plan_.bytes) {
    block_ = {};  // first, so that both are never held
    block_ = AlignedBuffer(plan_.bytes);
  }
}

size_t RunMemory::allocate(size_t bytes, size_t step, size_t last) {
  const size_t number = pieces_.size();
  if (!recording_ && !diverged_) {
    const bool same = number < recorded_.size() && recorded_[number].first == step &&
                      recorded_[number].bytes >= bytes && recorded_[number].last >= last;
    if (same) {
      pieces_.push_back({recorded_[number], block_.data() + plan_.offsets[number], {}});
      return number;
    }
    diverged_ = true;
  }
  if (bytes > byte_limit_ || heap_bytes_ > byte_limit_ - bytes) {
    throw Error(Fault::kUnsupported,
                fmt::format("{} bytes more than the {} in use exceed the {} bytes of memory", bytes,
                            heap_bytes_, byte_limit_));
  }
  AlignedBuffer buffer(bytes);
  std::byte* data = buffer.data();
  pieces_.push_back({{bytes, step, last}, data, std::move(buffer)});
  live_.push_back(number);
  heap_bytes_ += bytes;
  peak_ = std::max(peak_, heap_bytes_);
  if (recording_) recorded_.push_back({bytes, step, last});
  return number;
}

void RunMemory::extend(size_t piece, size_t last) {
  Lifetime& lifetime = pieces_[piece].lifetime;
  if (lifetime.last >= last) return;
  lifetime.last = last;
  if (recording_) recorded_[piece].last = last;
  // What the block would hold next may not be written any more.
  if (!recording_) diverged_ = true;
}

void RunMemory::end_step(size_t step) {
  std::erase_if(live_, [&](size_t number) {
    Piece& piece = pieces_[number];
    if (piece.lifetime.last > step) return false;
    heap_bytes_ -= piece.lifetime.bytes;
    piece.buffer = {};
    return true;
  });
}

void RunMemory::finish() {
  if (recording_) {
    plan_ = plan_memory(recorded_);
    planned_ = true;
  } else if (diverged_) {
    planned_ = false;
  }
}

size_t RunMemory::bytes() const { return planned_ ? std::max(plan_.bytes, block_.bytes()) : peak_; }

size_t physical_memory() {
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page <= 0) return size_t{1} << 34;
  return static_cast<size_t>(pages) * static_cast<size_t>(page);
}

}  // namespace espalier
