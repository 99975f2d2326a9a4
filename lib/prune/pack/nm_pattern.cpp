#include "lib/prune/pack/nm_pattern.h"

#include <algorithm>
#include <array>

#include "lib/base/checked_math.h"
#include "lib/prune/select/window_positions.h"

namespace espalier {
namespace {

// How many elements the groups may keep and do keep; nullopt where one keeps too many.
class Groups {
 public:
  Groups(const std::vector<float>& values, const Layer& layer, NofM nm)
      : values_(values), layer_(layer), nm_(nm), positions_(window_positions(layer)) {}

  bool explain() {
    const Fold& fold = layer_.fold;
    const size_t channels = fold.cols / positions_;
    for (size_t row = 0; row < fold.parts * fold.rows; ++row) {
      for (size_t position = 0; position < positions_; ++position) {
        for (size_t first = 0; first < channels; first += nm_.of) {
          if (!group(row, position, first, std::min<size_t>(first + nm_.of, channels)))
            return false;
        }
      }
    }
    // A weight with more zeros than that has another pattern, or none.
    constexpr double kMostlyUsed = 0.8;
    constexpr size_t kFewest = 32;
    return groups_ >= kFewest &&
           static_cast<double>(kept_) >= kMostlyUsed * static_cast<double>(allowed_);
  }

 private:
  bool group(size_t row, size_t position, size_t first, size_t last) {
    const Fold& fold = layer_.fold;
    size_t kept = 0, size = 0;
    for (size_t c = first; c < last; ++c) {
      const size_t r = row % fold.rows, column = c * positions_ + position;
      if (layer_.square && column == r) continue;
      ++size;
      kept += values_[fold.offset(row / fold.rows, r, column)] != 0 ? 1 : 0;
    }
    const size_t allowed = ceil_div(nm_.keep * size, nm_.of);
    if (kept > allowed) return false;
    kept_ += kept, allowed_ += allowed, ++groups_;
    return true;
  }

  const std::vector<float>& values_;
  const Layer& layer_;
  NofM nm_;
  size_t positions_, kept_ = 0, allowed_ = 0, groups_ = 0;
};

}  // namespace

std::optional<NofM> nm_pattern(const Weight& weight, const Layer& layer) {
  constexpr auto kKnown = std::to_array<NofM>({{2, 4}, {4, 8}});
  const std::vector<float> values = to_f32(dense_of(weight));
  for (const NofM nm : kKnown) {
    if (Groups(values, layer, nm).explain()) return nm;
  }
  return std::nullopt;
}

}  // namespace espalier
