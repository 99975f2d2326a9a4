#include "lib/tensor/view.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/limits.h"
#include "lib/tensor/small_types.h"

namespace espalier {

static_assert(Dims::kMaxRank == limits::run_rank);
namespace {

[[noreturn]] void too_many_axes(size_t rank) {
  throw Error(Fault::kUnsupported,
              fmt::format("a value has {} axes, expected at most {}", rank, Dims::kMaxRank));
}

}  // namespace

size_t bytes_in_view(DType dtype) { return is_sub_byte(dtype) ? 1 : bytes_of(dtype); }

Dims::Dims(std::span<const int64_t> extents) : rank_(extents.size()) {
  if (rank_ > kMaxRank) too_many_axes(rank_);
  std::ranges::copy(extents, extents_.begin());
}

void Dims::push_back(int64_t extent) {
  if (rank_ == kMaxRank) too_many_axes(rank_ + 1);
  extents_[rank_++] = extent;
}

size_t Dims::product(size_t first, size_t last) const {
  ESPALIER_CHECK(last <= rank_);
  size_t result = 1;
  for (size_t axis = first; axis < last; ++axis) {
    ESPALIER_CHECK(extents_[axis] >= 0);
    result *= static_cast<size_t>(extents_[axis]);
  }
  return result;
}

bool Dims::operator==(const Dims& other) const { return std::ranges::equal(*this, other); }

}  // namespace espalier
