#include "lib/sparse/pack.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

#include "lib/base/error.h"
#include "tests/lib/sparse/random_weight.h"

namespace espalier {
namespace {

const std::vector<BlockShape> kBlocks{{1, 1}, {16, 1}, {16, 4}, {8, 4}, {1, 4}, {5, 3}, {64, 64}};

std::vector<Fold> awkward_folds() {
  std::vector<Fold> folds;
  for (const bool transposed : {false, true}) {
    for (const Fold fold : {Fold{1, 1, 1}, Fold{1, 33, 130}, Fold{3, 17, 17}, Fold{2, 64, 7},
                            Fold{1, 1, 257}, Fold{4, 50, 1}}) {
      folds.push_back({fold.parts, fold.rows, fold.cols, transposed});
    }
  }
  return folds;
}

// What nonzero_blocks promises, element by element.
BlockMask plain_nonzero_blocks(const Tensor& dense, const Fold& fold, BlockShape block,
                               bool diagonal) {
  BlockMask mask(block, fold, false);
  for (size_t p = 0; p < fold.parts; ++p) {
    for (size_t r = 0; r < fold.rows; ++r) {
      for (size_t c = 0; c < fold.cols; ++c) {
        if (bits_at(dense, fold.offset(p, r, c)) != 0 && !(diagonal && r == c))
          mask.kept[mask.index(p, r / block.rows, c / block.cols)] = true;
      }
    }
  }
  return mask;
}

TEST_CASE("packing what is not zero and decoding it gives back every bit") {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const Fold& fold : awkward_folds()) {
      for (const BlockShape block : kBlocks) {
        for (const bool diagonal : {false, true}) {
          if (diagonal && fold.rows != fold.cols) continue;
          CAPTURE(to_string(block));
          CAPTURE(fold.rows);
          CAPTURE(fold.cols);
          CAPTURE(fold.transposed);
          const Tensor dense = random_weight(dtype, fold, block, 0.3);
          const BlockMask mask = nonzero_blocks(dense, fold, block, diagonal);
          CHECK(mask == plain_nonzero_blocks(dense, fold, block, diagonal));
          const SparseMatrix packed = pack_blocks(dense, fold, mask, diagonal);
          CHECK(packed.blocks() == mask.kept_blocks());
          CHECK_NOTHROW(validate(packed));
          CHECK(same_bits(decode(packed), dense));
        }
      }
    }
  }
}

TEST_CASE("packing drops exactly the blocks that the mask drops") {
  for (const Fold& fold : awkward_folds()) {
    for (const BlockShape block : kBlocks) {
      const Tensor dense = random_weight(DType::kF32, fold, {1, 1}, 1.0);
      BlockMask mask(block, fold, false);
      for (size_t i = 0; i < mask.blocks(); ++i) mask.kept[i] = i % 3 != 1;
      const Tensor decoded = decode(pack_blocks(dense, fold, mask, false));
      bool right = true;
      for (size_t p = 0; p < fold.parts; ++p) {
        for (size_t r = 0; r < fold.rows; ++r) {
          for (size_t c = 0; c < fold.cols; ++c) {
            const size_t at = fold.offset(p, r, c);
            right &= bits_at(decoded, at) == (mask.at(p, r, c) ? bits_at(dense, at) : 0);
          }
        }
      }
      CHECK(right);
    }
  }
}

TEST_CASE("a diagonal kept apart survives a mask that drops everything") {
  for (const bool transposed : {false, true}) {
    const Fold fold{3, 17, 17, transposed};
    const Tensor dense = random_weight(DType::kF32, fold, {1, 1}, 1.0);
    const SparseMatrix packed = pack_blocks(dense, fold, BlockMask({16, 1}, fold, false), true);
    CHECK(packed.blocks() == 0);
    CHECK(packed.diagonal.shape() == Shape{51});
    const Tensor decoded = decode(packed);
    for (size_t r = 0; r < 17; ++r) {
      CHECK(bits_at(decoded, fold.offset(2, r, r)) == bits_at(dense, fold.offset(2, r, r)));
      CHECK(bits_at(decoded, fold.offset(2, r, (r + 1) % 17)) == 0);
    }
  }
}

TEST_CASE("a negative zero keeps its block") {
  Tensor dense = Tensor::zeros(DType::kF32, {32, 3});
  dense.mutable_data<float>()[3 * 20 + 1] = -0.0F;
  const Fold fold{1, 32, 3};
  const BlockMask mask = nonzero_blocks(dense, fold, {16, 1}, false);
  CHECK(mask.kept_blocks() == 1);
  CHECK(mask.at(0, 20, 1));
  CHECK(same_bits(decode(pack_blocks(dense, fold, mask, false)), dense));
}

TEST_CASE("values lie block after block, row-major inside, whatever way the weight is stored") {
  const std::vector<float> plain{1, 2, 0, 0, 3, 4, 0, 5, 6, 7, 0, 8};  // [3, 4]
  const std::vector<float> turned{1, 3, 6, 2, 4, 7, 0, 0, 0, 0, 5, 8};
  for (const bool transposed : {false, true}) {
    const Tensor dense =
        transposed ? Tensor::of<float>({4, 3}, turned) : Tensor::of<float>({3, 4}, plain);
    const Fold fold{1, 3, 4, transposed};
    const SparseMatrix packed =
        pack_blocks(dense, fold, nonzero_blocks(dense, fold, {2, 2}, false), false);
    CHECK(packed.row_start == std::vector<uint32_t>{0, 2, 4});
    CHECK(packed.col == std::vector<uint32_t>{0, 1, 0, 1});
    const auto values = packed.values.data<float>();
    CHECK(std::vector<float>(values.begin(), values.end()) ==
          std::vector<float>{1, 2, 3, 4, 0, 0, 0, 5, 6, 7, 0, 0, 0, 8, 0, 0});
  }
}

TEST_CASE("bytes that lie unaligned in a file are packed like any others") {
  const Fold fold{1, 33, 20};
  const Tensor aligned = random_weight(DType::kF32, fold, {16, 1}, 0.5);
  const auto buffer = std::make_shared<std::string>("x");
  buffer->append(as_text(aligned.bytes()));
  const Tensor loose(DType::kF32, aligned.shape(), as_bytes(*buffer).subspan(1), buffer);
  const BlockMask mask = nonzero_blocks(loose, fold, {16, 1}, false);
  CHECK(same_bits(decode(pack_blocks(loose, fold, mask, false)), aligned));
}

TEST_CASE("narrower values decode to the weight's own type") {
  const Fold fold{1, 17, 9};
  const Tensor dense = Tensor::of<float>({17, 9}, std::vector<float>(153, 1.0F + 0x1p-12F));
  const SparseMatrix packed = pack_blocks(dense, fold, BlockMask({16, 1}, fold, true), false);
  const SparseMatrix narrow = with_values(packed, DType::kF16);
  CHECK(narrow.values.dtype() == DType::kF16);
  const Tensor decoded = decode(narrow);
  CHECK(decoded.dtype() == DType::kF32);
  for (const float value : decoded.data<float>()) CHECK(value == 1.0F);
}

TEST_CASE("i8 values are off by at most half a step of their output, a diagonal by nothing") {
  const Fold fold{2, 5, 5};
  std::vector<float> values(50);
  for (size_t i = 0; i < 50; ++i) values[i] = std::sin(static_cast<float>(i)) * (i < 25 ? 1 : 100);
  std::fill_n(values.begin() + 10, 5, 0.0F);  // an output without any weight
  const Tensor dense = Tensor::of<float>({2, 5, 5}, values);
  for (const bool diagonal : {false, true}) {
    const SparseMatrix packed = pack_blocks(dense, fold, BlockMask({2, 2}, fold, true), diagonal);
    const SparseMatrix narrow = with_values(packed, DType::kI8);
    validate(narrow);
    CHECK(packed_bytes(narrow) == packed_bytes(packed) - 3 * packed.values.count() + 10 * 4);
    const std::vector<float> decoded = to_f32(decode(narrow)), scale = to_f32(narrow.scale);
    for (size_t i = 0; i < 50; ++i) {
      CAPTURE(i);
      const bool exact = diagonal && i % 25 % 6 == 0;
      CHECK(std::abs(decoded[i] - values[i]) <= (exact ? 0 : 0.5001F * scale[i / 5]));
    }
    CHECK(same_bits(decode(with_values(narrow, DType::kF32)), decode(narrow)));
  }
  values[3] = INFINITY;
  const Tensor infinite = Tensor::of<float>({2, 5, 5}, values);
  CHECK_THROWS_WITH(
      with_values(pack_blocks(infinite, fold, BlockMask({2, 2}, fold, true), false), DType::kI8),
      doctest::Contains("does not fit into i8"));
}

TEST_CASE("a finite value that f16 cannot hold is refused, an infinite one is kept") {
  const Fold fold{1, 1, 2};
  const BlockMask mask({1, 1}, fold, true);
  const std::vector<float> big{1, 1e6F};
  CHECK_THROWS_WITH_AS(
      with_values(pack_blocks(Tensor::of<float>({1, 2}, big), fold, mask, false), DType::kF16),
      doctest::Contains("does not fit into f16"), Error);
  const std::vector<float> infinite{1, std::numeric_limits<float>::infinity()};
  const SparseMatrix packed = pack_blocks(Tensor::of<float>({1, 2}, infinite), fold, mask, false);
  CHECK(std::isinf(decode(with_values(packed, DType::kF16)).data<float>()[1]));
}

TEST_CASE("density counts the padding of edge blocks, bytes count index pairs") {
  const Fold fold{1, 17, 2};
  const Tensor dense = random_weight(DType::kF32, fold, {1, 1}, 1.0);
  const SparseMatrix packed = pack_blocks(dense, fold, BlockMask({16, 1}, fold, true), false);
  CHECK(density(packed) == doctest::Approx(64.0 / 34.0));
  CHECK(packed_bytes(packed) == 64 * 4 + 4 * 4);
  const Fold wide{1, 1, 65537};
  BlockMask one({1, 1}, wide, false);
  one.kept[65536] = true;
  const Tensor weight = random_weight(DType::kF32, wide, {1, 1}, 1.0);
  CHECK(packed_bytes(pack_blocks(weight, wide, one, false)) == 4 + 8);
}

}  // namespace
}  // namespace espalier
