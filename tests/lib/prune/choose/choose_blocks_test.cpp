#include "lib/prune/choose/choose_blocks.h"

#include <doctest/doctest.h>

#include <numeric>
#include <random>

using namespace espalier;

namespace {

BlockScores random_scores(Fold fold, BlockShape block, bool skip_diagonal, uint32_t seed,
                          int levels) {
  BlockScores result{fold, block, skip_diagonal, {}};
  result.scores.resize(BlockMask(block, fold, true).blocks());
  std::mt19937 engine(seed);
  for (float& score : result.scores) {
    const auto level = static_cast<float>(engine() % static_cast<uint32_t>(levels));
    score = level / static_cast<float>(levels);  // few levels make ties
  }
  return result;
}

size_t weights_at(const BlockScores& s, const BlockMask& mask, size_t index) {
  const size_t row = index / mask.grid_cols();
  return weights_in_block(s, row / mask.grid_rows(), row % mask.grid_rows(),
                          index % mask.grid_cols());
}

BlockMask dropped(const BlockScores& scores, double sparsity, size_t threads) {
  ThreadPool pool(threads);
  BlockMask mask(scores.block, scores.fold, true);
  const PartRange range{&scores, 0, scores.fold.parts, 1, &mask};
  drop_lowest({&range, 1}, sparsity, pool);
  return mask;
}

// The definition: sort by (score, index), drop from the front while that comes nearer.
BlockMask dropped_by_sorting(const BlockScores& scores, double sparsity) {
  BlockMask mask(scores.block, scores.fold, true);
  std::vector<size_t> order(mask.blocks());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores.scores[a] < scores.scores[b]; });
  const double target = sparsity * static_cast<double>(weights_in_all(scores));
  double gone = 0;
  bool done = false;
  for (const size_t i : order) {
    const auto weights = static_cast<double>(weights_at(scores, mask, i));
    if (weights == 0) {
      mask.kept[i] = false;
      continue;
    }
    done = done || gone + weights / 2 > target;
    if (done) continue;
    mask.kept[i] = false;
    gone += weights;
  }
  return mask;
}

}  // namespace

TEST_CASE("blocks are dropped as sorting by score and index would drop them") {
  uint32_t seed = 0;
  for (const BlockShape block : {BlockShape{1, 1}, {16, 1}, {5, 3}, {7, 9}, {64, 64}}) {
    for (const Fold fold : {Fold{1, 1, 1}, Fold{1, 33, 70}, Fold{3, 24, 24}, Fold{2, 64, 128}}) {
      for (const int levels : {1, 3, 1000000}) {
        const bool skip = fold.rows == fold.cols && fold.rows > 1;
        const BlockScores scores = random_scores(fold, block, skip, ++seed, levels);
        for (const double sparsity : {0.0, 0.1, 0.5, 0.77, 0.999, 1.0}) {
          CAPTURE(to_string(block));
          CAPTURE(fold.cols);
          CAPTURE(levels);
          CAPTURE(sparsity);
          CHECK(dropped(scores, sparsity, 1) == dropped_by_sorting(scores, sparsity));
        }
      }
    }
  }
}

TEST_CASE("what is dropped lies within one block of what was asked") {
  for (const BlockShape block : {BlockShape{16, 1}, {8, 4}, {5, 3}}) {
    const BlockScores scores = random_scores({3, 50, 50}, block, true, 5, 1000);
    for (double sparsity = 0; sparsity <= 1; sparsity += 0.05) {
      const BlockMask mask = dropped(scores, sparsity, 2);
      double gone = 0;
      for (size_t i = 0; i < mask.blocks(); ++i)
        gone += mask.kept[i] ? 0 : static_cast<double>(weights_at(scores, mask, i));
      const double asked = sparsity * static_cast<double>(weights_in_all(scores));
      CHECK(std::abs(gone - asked) <= static_cast<double>(block.area()) / 2);
    }
  }
}

TEST_CASE("of equal scores the lower index goes first") {
  const BlockScores equal{{1, 1, 10}, {1, 1}, false, std::vector<float>(10, 0.5F)};
  const BlockMask mask = dropped(equal, 0.3, 1);
  for (size_t i = 0; i < 10; ++i) CHECK(mask.kept[i] == (i >= 3));
}

TEST_CASE("infinite scores stay longest, all thread counts choose the same") {
  BlockScores scores = random_scores({1, 1000, 1000}, {1, 1}, true, 9, 5000);
  for (size_t i = 0; i < scores.scores.size(); i += 999)
    scores.scores[i] = std::numeric_limits<float>::infinity();
  const BlockMask one = dropped(scores, 0.9, 1);
  CHECK(dropped(scores, 0.9, 2) == one);
  CHECK(dropped(scores, 0.9, 3) == one);
  CHECK(one == dropped_by_sorting(scores, 0.9));
  for (size_t i = 0; i < scores.scores.size(); i += 999) {
    if (i / 1000 != i % 1000) CHECK(one.kept[i]);
  }
}

TEST_CASE("a global threshold takes the lowest of all ranges, scaled") {
  const BlockScores a{{1, 1, 4}, {1, 1}, false, {4, 1, 8, 2}};
  const BlockScores b{{1, 1, 4}, {1, 1}, false, {30, 5, 10, 70}};
  BlockMask mask_a(a.block, a.fold, true), mask_b(b.block, b.fold, true);
  ThreadPool pool(2);
  const std::vector<PartRange> ranges{{&a, 0, 1, 1, &mask_a}, {&b, 0, 1, 0.1F, &mask_b}};
  drop_lowest(ranges, 0.5, pool);
  CHECK(mask_a.kept == std::vector<bool>{true, false, true, false});
  CHECK(mask_b.kept == std::vector<bool>{true, false, false, true});
}

TEST_CASE("a range of parts leaves the other parts alone") {
  const BlockScores scores = random_scores({3, 10, 10}, {1, 1}, false, 3, 1000);
  BlockMask mask(scores.block, scores.fold, true);
  const PartRange middle{&scores, 1, 2, 1, &mask};
  ThreadPool pool(2);
  drop_lowest({&middle, 1}, 0.4, pool);
  CHECK(mask.kept_blocks() == 300 - 40);
  for (size_t i = 0; i < 100; ++i) CHECK((mask.kept[i] && mask.kept[200 + i]));
}

TEST_CASE("N of M: exact in every group, ragged groups keep their share, ties go lowest first") {
  for (const NofM nm : {NofM{2, 4}, {1, 4}, {3, 8}, {1, 1}, {5, 100}}) {
    for (const size_t cols : {4U, 9U, 64U, 130U}) {
      const BlockScores scores = random_scores({2, 70, cols}, {1, 1}, false, 3, 4);
      BlockMask one(scores.block, scores.fold, true), three = one;
      ThreadPool pool1(1), pool3(3);
      keep_n_of_m(scores, nm, 1, one, pool1);
      keep_n_of_m(scores, nm, 1, three, pool3);
      CHECK(one == three);
      for (size_t row = 0; row < 140; ++row) {
        for (size_t first = 0; first < cols; first += nm.of) {
          const size_t last = std::min<size_t>(first + nm.of, cols);
          size_t kept = 0;
          for (size_t c = first; c < last; ++c) kept += one.kept[row * cols + c] ? 1 : 0;
          REQUIRE(kept == ceil_div(nm.keep * (last - first), nm.of));
          for (size_t c = first; c < last; ++c) {
            for (size_t d = first; d < last; ++d) {
              const float here = scores.scores[row * cols + c],
                          there = scores.scores[row * cols + d];
              const bool lower = here < there || (here == there && c < d);
              if (lower && one.kept[row * cols + c]) REQUIRE(one.kept[row * cols + d]);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("N of M beside a diagonal kept apart counts the others") {
  const BlockScores scores{{1, 4, 4}, {1, 1}, true, std::vector<float>(16, 1)};
  BlockMask mask(scores.block, scores.fold, true);
  ThreadPool pool(1);
  keep_n_of_m(scores, {2, 4}, 1, mask, pool);
  for (size_t r = 0; r < 4; ++r) {
    CHECK_FALSE(mask.at(0, r, r));
    size_t kept = 0;
    for (size_t c = 0; c < 4; ++c) kept += mask.at(0, r, c) ? 1 : 0;
    CHECK(kept == 2);
  }
}

TEST_CASE("N of M of a convolution counts the channels of one window position") {
  constexpr size_t kPositions = 9;
  ThreadPool pool(2);
  for (const size_t channels : {4U, 8U, 10U, 3U}) {
    const BlockScores scores = random_scores({2, 6, channels * kPositions}, {1, 1}, false, 5, 1000);
    BlockMask mask(scores.block, scores.fold, true);
    keep_n_of_m(scores, {2, 4}, kPositions, mask, pool);
    for (size_t row = 0; row < 12; ++row) {
      for (size_t position = 0; position < kPositions; ++position) {
        for (size_t first = 0; first < channels; first += 4) {
          const size_t last = std::min<size_t>(first + 4, channels);
          size_t kept = 0;
          float lowest_kept = std::numeric_limits<float>::infinity(), highest_dropped = 0;
          for (size_t c = first; c < last; ++c) {
            const size_t index = row * channels * kPositions + c * kPositions + position;
            if (mask.kept[index]) {
              ++kept, lowest_kept = std::min(lowest_kept, scores.scores[index]);
            } else {
              highest_dropped = std::max(highest_dropped, scores.scores[index]);
            }
          }
          REQUIRE(kept == ceil_div(2 * (last - first), 4));
          REQUIRE(lowest_kept >= highest_dropped);
        }
      }
    }
  }
}
