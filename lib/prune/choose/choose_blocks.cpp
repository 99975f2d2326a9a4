#include "lib/prune/choose/choose_blocks.h"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>

namespace espalier {
namespace {

// Bit patterns in the order of the numbers: negative ones reversed below the positive ones, NaN of
// either sign on top.
uint32_t ordered(float score) {
  const auto bits = std::bit_cast<uint32_t>(score);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return UINT32_MAX;
  return (bits & 0x80000000) != 0 ? ~bits : bits | 0x80000000;
}

// Blocks [first, last) of a range by index in the layer's grid. Boundaries lie on multiples of 64,
// so that threads never write into the same word of a mask.
struct Chunk {
  const PartRange* range;
  size_t first, last;
};

std::vector<Chunk> chunks_of(std::span<const PartRange> ranges) {
  constexpr size_t kBlocks = size_t{1} << 17;
  std::vector<Chunk> chunks;
  for (const PartRange& range : ranges) {
    const size_t part = range.mask->grid_rows() * range.mask->grid_cols();
    for (size_t at = range.first * part; at < range.last * part;) {
      const size_t end = std::min((at / kBlocks + 1) * kBlocks, range.last * part);
      chunks.push_back({&range, at, end});
      at = end;
    }
  }
  return chunks;
}

// Calls visit(index, key, weights) for the blocks of a chunk, in order.
template <typename Visit>
void for_each_block(const Chunk& chunk, const Visit& visit) {
  const BlockScores& scores = *chunk.range->scores;
  const float scale = chunk.range->scale;
  const bool even = !scores.skip_diagonal && scores.fold.rows % scores.block.rows == 0 &&
                    scores.fold.cols % scores.block.cols == 0;
  if (even) {
    for (size_t i = chunk.first; i < chunk.last; ++i)
      visit(i, ordered(scores.scores[i] * scale), scores.block.area());
    return;
  }
  const size_t cols = chunk.range->mask->grid_cols(), rows = chunk.range->mask->grid_rows();
  size_t row = chunk.first / cols, col = chunk.first % cols;
  for (size_t i = chunk.first; i < chunk.last; ++i) {
    const size_t weights = weights_in_block(scores, row / rows, row % rows, col);
    visit(i, ordered(scores.scores[i] * scale), weights);
    if (++col == cols) {
      col = 0;
      ++row;
    }
  }
}

// Finds the key at which the weights below, in ascending order, reach the target: 11, 11 and 10
// bits at a time, each pass counting the weights per digit among the keys that begin as found.
class Threshold {
 public:
  Threshold(const std::vector<Chunk>& chunks, double sparsity, ThreadPool& pool)
      : chunks_(chunks), pool_(pool) {
    find_digit(21, 11);
    size_t all = 0;
    for (const size_t weights : total_) all += weights;
    target_ = sparsity * static_cast<double>(all);
    narrow(21);
    for (const auto& [shift, bits] : {std::pair(10, 11), std::pair(0, 10)}) {
      if (everything_) return;
      find_digit(shift, bits);
      narrow(shift);
    }
  }

  bool everything() const { return everything_; }   // the target takes all blocks
  uint32_t key() const { return prefix_; }          // blocks below it go
  double left() const { return target_ - below_; }  // weights to drop among those that have it

 private:
  static constexpr size_t kDigits = 2048;
  using Histogram = std::array<size_t, kDigits>;

  void find_digit(int shift, int bits) {
    std::vector<Histogram> histograms(chunks_.size(), Histogram{});
    const uint32_t mask = (uint32_t{1} << bits) - 1;
    const int above = shift + bits;
    pool_.for_each(chunks_.size(), [&](size_t i) {
      Histogram& histogram = histograms[i];
      for_each_block(chunks_[i], [&](size_t, uint32_t key, size_t weights) {
        if (above == 32 || (key ^ prefix_) >> above == 0)
          histogram[(key >> shift) & mask] += weights;
      });
    });
    total_.fill(0);
    for (const Histogram& histogram : histograms) {
      for (size_t digit = 0; digit < kDigits; ++digit) total_[digit] += histogram[digit];
    }
  }

  void narrow(int shift) {
    size_t digit = 0;
    while (digit < kDigits && below_ + static_cast<double>(total_[digit]) <= target_)
      below_ += static_cast<double>(total_[digit++]);
    everything_ = digit == kDigits;
    if (!everything_) prefix_ |= static_cast<uint32_t>(digit) << shift;
  }

  const std::vector<Chunk>& chunks_;
  ThreadPool& pool_;
  Histogram total_{};
  double target_ = 0, below_ = 0;
  uint32_t prefix_ = 0;
  bool everything_ = false;
};

// Drops blocks of the threshold's own key from the front until `left` weights are gone; one that
// would overshoot by more than half of its weights stays, and so do all after it.
void drop_ties(const std::vector<Chunk>& chunks, const std::vector<size_t>& ties, uint32_t key,
               double left) {
  bool done = false;
  for (size_t i = 0; i < chunks.size() && !done; ++i) {
    if (ties[i] == 0) continue;
    std::vector<bool>& kept = chunks[i].range->mask->kept;
    for_each_block(chunks[i], [&](size_t index, uint32_t k, size_t weights) {
      if (done || k != key || weights == 0) return;
      done = left < 0.5 * static_cast<double>(weights);
      if (done) return;
      kept[index] = false;
      left -= static_cast<double>(weights);
    });
  }
}

// Keeps `keep` of the candidates, given as (key, index in the mask) in index order.
struct Candidate {
  uint32_t key;
  size_t index;
};

void keep_highest(std::vector<Candidate>& group, size_t keep, std::vector<bool>& kept) {
  const auto higher = [](const Candidate& a, const Candidate& b) {
    return a.key != b.key ? a.key > b.key : a.index > b.index;
  };
  if (keep < group.size()) {
    std::nth_element(group.begin(), group.begin() + static_cast<ptrdiff_t>(keep), group.end(),
                     higher);
  }
  for (size_t i = 0; i < group.size(); ++i) kept[group[i].index] = i < keep;
}

}  // namespace

size_t weights_in_block(const BlockScores& scores, size_t, size_t block_row, size_t block_col) {
  const size_t r0 = block_row * scores.block.rows, c0 = block_col * scores.block.cols;
  const size_t r1 = std::min<size_t>(r0 + scores.block.rows, scores.fold.rows);
  const size_t c1 = std::min<size_t>(c0 + scores.block.cols, scores.fold.cols);
  size_t weights = (r1 - r0) * (c1 - c0);
  if (scores.skip_diagonal) {
    const size_t from = std::max(r0, c0), to = std::min(r1, c1);
    if (from < to) weights -= to - from;
  }
  return weights;
}

size_t weights_in_all(const BlockScores& scores) {
  return scores.fold.count() - (scores.skip_diagonal ? scores.fold.parts * scores.fold.rows : 0);
}

double dropped_share(const BlockScores& scores, const BlockMask& mask) {
  size_t dropped = 0, index = 0;
  for (size_t part = 0; part < mask.parts; ++part) {
    for (size_t row = 0; row < mask.grid_rows(); ++row) {
      for (size_t col = 0; col < mask.grid_cols(); ++col, ++index) {
        if (!mask.kept[index]) dropped += weights_in_block(scores, part, row, col);
      }
    }
  }
  const size_t all = weights_in_all(scores);
  return all == 0 ? 0 : static_cast<double>(dropped) / static_cast<double>(all);
}

void drop_lowest(std::span<const PartRange> ranges, double sparsity, ThreadPool& pool) {
  const std::vector<Chunk> chunks = chunks_of(ranges);
  if (chunks.empty()) return;
  const Threshold threshold(chunks, sparsity, pool);
  std::vector<size_t> ties(chunks.size(), 0);  // weights of the threshold's own key
  pool.for_each(chunks.size(), [&](size_t i) {
    std::vector<bool>& kept = chunks[i].range->mask->kept;
    size_t tied = 0;
    for_each_block(chunks[i], [&](size_t index, uint32_t key, size_t weights) {
      const bool keep = weights != 0 && !threshold.everything() && key >= threshold.key();
      kept[index] = keep;
      if (keep && key == threshold.key()) tied += weights;
    });
    ties[i] = tied;
  });
  if (!threshold.everything()) drop_ties(chunks, ties, threshold.key(), threshold.left());
}

void keep_n_of_m(const BlockScores& scores, NofM nm, size_t positions, BlockMask& mask,
                 ThreadPool& pool) {
  constexpr size_t kRows = 64;  // of bits, so that chunks end on whole words of the mask
  const size_t rows = scores.fold.parts * scores.fold.rows, cols = scores.fold.cols;
  const size_t channels = cols / positions;
  const auto keep_in_group = [&](size_t row, size_t position, size_t first,
                                 std::vector<Candidate>& group) {
    const size_t diagonal = scores.skip_diagonal ? row % scores.fold.rows : cols;
    group.clear();
    for (size_t c = first; c < std::min<size_t>(first + nm.of, channels); ++c) {
      const size_t column = c * positions + position, index = row * cols + column;
      if (column == diagonal) {
        mask.kept[index] = false;
      } else {
        group.push_back({ordered(scores.scores[index]), index});
      }
    }
    keep_highest(group, ceil_div(nm.keep * group.size(), nm.of), mask.kept);
  };
  pool.for_each(ceil_div(rows, kRows), [&](size_t chunk) {
    std::vector<Candidate> group;
    for (size_t row = chunk * kRows; row < std::min((chunk + 1) * kRows, rows); ++row) {
      for (size_t position = 0; position < positions; ++position) {
        for (size_t first = 0; first < channels; first += nm.of)
          keep_in_group(row, position, first, group);
      }
    }
  });
}

}  // namespace espalier
