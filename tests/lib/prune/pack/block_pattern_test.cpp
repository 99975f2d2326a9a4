#include <doctest/doctest.h>

#include "lib/prune/pack/block_pattern.h"
#include "tests/lib/prune/prune_models.h"

using namespace espalier;
using namespace espalier::test;

namespace {

// A random weight whose blocks are dropped with probability `sparsity`.
Tensor pruned(const Fold& fold, BlockShape block, double sparsity, uint32_t seed, bool diagonal,
              DType dtype = DType::kF32) {
  std::mt19937 engine(seed);
  std::bernoulli_distribution drop(sparsity);
  BlockMask mask(block, fold, true);
  for (size_t i = 0; i < mask.blocks(); ++i) mask.kept[i] = !drop(engine);
  const Tensor dense = random_tensor({static_cast<int64_t>(fold.count())}, seed, dtype);
  std::vector<float> values = to_f32(dense);
  for (size_t p = 0; p < fold.parts; ++p) {
    for (size_t r = 0; r < fold.rows; ++r) {
      for (size_t c = 0; c < fold.cols; ++c) {
        if (!mask.at(p, r, c) && !(diagonal && r == c)) values[fold.offset(p, r, c)] = 0;
      }
    }
  }
  return from_f32(values, dtype, dense.shape());
}

std::string pattern(const Tensor& weight, const Fold& fold, bool square = false) {
  const auto found = block_pattern(Weight{weight, {}}, fold, square);
  return found ? to_string(*found) : "dense";
}

}  // namespace

TEST_CASE("the pattern found is the one that was pruned by, of any shape") {
  uint32_t seed = 0;
  for (const BlockShape block : {BlockShape{1, 1},
                                 {16, 1},
                                 {16, 4},
                                 {8, 1},
                                 {8, 4},
                                 {4, 8},
                                 {1, 4},
                                 {5, 3},
                                 {32, 1},
                                 {7, 7}}) {
    for (const bool transposed : {false, true}) {
      for (const double sparsity : {0.1, 0.5, 0.9}) {
        const Fold fold{2, 190, 200, transposed};
        CAPTURE(to_string(block));
        CAPTURE(sparsity);
        CHECK(pattern(pruned(fold, block, sparsity, ++seed, false), fold) == to_string(block));
        const Fold square{3, 192, 192, transposed};
        const Tensor apart = pruned(square, block, sparsity, ++seed, true);
        CHECK(pattern(apart, square, true) == to_string(block));
      }
    }
  }
}

TEST_CASE("a diagonal that was kept hides the pattern only where it is looked at") {
  const Fold fold{3, 192, 192};
  const Tensor weight = pruned(fold, {16, 1}, 0.9, 3, true);
  CHECK(pattern(weight, fold, true) == "16x1");
  CHECK(pattern(weight, fold, false) != "16x1");
}

TEST_CASE("high sparsity does not feign larger blocks") {
  const Fold fold{1, 512, 512};
  CHECK(pattern(pruned(fold, {1, 1}, 0.995, 3, false), fold) == "1x1");
  CHECK(pattern(pruned(fold, {16, 1}, 0.99, 3, false), fold) == "16x1");
}

TEST_CASE("weights without zeros, or nearly so, have no pattern") {
  const Fold fold{1, 128, 128};
  CHECK(pattern(random_tensor({128, 128}, 1), fold) == "dense");
  CHECK(pattern(pruned(fold, {1, 1}, 0.004, 1, false), fold) == "dense");
  CHECK(pattern(Tensor::zeros(DType::kF64, {128, 128}), fold) == "dense");
}

TEST_CASE("half types and negative zeros count by value") {
  const Fold fold{1, 64, 64};
  CHECK(pattern(pruned(fold, {8, 4}, 0.5, 1, false, DType::kF16), fold) == "8x4");
  CHECK(pattern(pruned(fold, {8, 4}, 0.5, 1, false, DType::kBF16), fold) == "8x4");
  std::vector<float> values(64 * 64, 1.0F);
  for (size_t i = 0; i < 64 * 32; ++i) values[i] = i % 2 == 0 ? 0.0F : -0.0F;
  CHECK(zero_share({Tensor::of<float>({64, 64}, values), {}}, fold, false) == 0.5);
}

TEST_CASE("a packed weight shows its blocks and the same zeros as the dense one") {
  const Fold fold{3, 50, 50};
  for (const bool apart : {false, true}) {
    const Tensor dense = pruned(fold, {8, 4}, 0.7, 5, apart);
    const SparseMatrix packed =
        pack_blocks(dense, fold, nonzero_blocks(dense, fold, {8, 4}, apart), apart);
    CHECK(block_pattern(Weight{packed, {}}, fold, apart) == BlockShape{8, 4});
    for (const bool skip : {false, true}) {
      const double share = zero_share({dense, {}}, fold, skip);
      CHECK(share > 0.5);
      CHECK(zero_share({packed, {}}, fold, skip) == share);
    }
    // Small values are 0 steps of i8: no fewer zeros, and not as many as there are blocks.
    const double steps = zero_share({with_values(packed, DType::kI8), {}}, fold, false);
    CHECK(steps >= zero_share({packed, {}}, fold, false));
    CHECK(steps < 0.8);
  }
}

TEST_CASE("skipped diagonals count neither way") {
  const Fold fold{1, 4, 4};
  std::vector<float> values(16, 0.0F);
  for (size_t i = 0; i < 4; ++i) values[5 * i] = 1;
  const Weight weight{Tensor::of<float>({4, 4}, values), {}};
  CHECK(zero_share(weight, fold, true) == 1);
  CHECK(zero_share(weight, fold, false) == 0.75);
  const Weight one{Tensor::of<float>({1, 1}, std::vector<float>{1}), {}};
  CHECK(zero_share(one, {1, 1, 1}, true) == 0);
}
