#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "lib/sparse/pack.h"
#include "lib/sparse/pack_rules.h"
#include "tests/lib/sparse/random_weight.h"

namespace espalier {
namespace {

// Fills the diagonals of a square weight with numbers.
void fill_diagonal(Tensor& weight, const Fold& fold) {
  for (size_t i = 0; i < fold.parts * fold.rows; ++i) {
    const size_t r = i % fold.rows;
    weight.mutable_data<float>()[fold.offset(i / fold.rows, r, r)] = 1.0F + static_cast<float>(i);
  }
}

TEST_CASE("blocks and diagonal of a recurrent weight as in trained models are found") {
  // GRU R [1, 3 * 192, 192]: three gates with 10 % of 16x1 blocks and a whole diagonal.
  for (const bool transposed : {false, true}) {
    const Fold fold{3, 192, 192, transposed};
    Tensor weight = random_weight(DType::kF32, fold, {16, 1}, 0.1);
    fill_diagonal(weight, fold);
    weight = weight.reshaped({1, 576, 192});
    const auto packed = pack_smallest(weight, fold);
    REQUIRE(packed.has_value());
    CHECK(to_string(packed->block) == "16x1");
    CHECK(packed->has_diagonal());
    CHECK(packed_bytes(*packed) < weight.bytes().size() / 8);
    CHECK(same_bits(decode(*packed), weight));
    CHECK_NOTHROW(validate(*packed));
  }
}

TEST_CASE("the block shape by which the zeros lie is found") {
  for (const BlockShape block : {BlockShape{16, 4}, {16, 1}, {8, 4}, {4, 8}, {8, 1}, {1, 4}}) {
    for (const bool transposed : {false, true}) {
      const Fold fold{2, 64, 96, transposed};
      const Tensor weight = random_weight(DType::kF32, fold, block, 0.1);
      const auto packed = pack_smallest(weight, fold);
      REQUIRE(packed.has_value());
      CHECK(to_string(packed->block) == to_string(block));
      CHECK_FALSE(packed->has_diagonal());
      CHECK(same_bits(decode(*packed), weight));
    }
  }
}

TEST_CASE("single zeros are packed as 1x1 where that pays") {
  const Fold fold{1, 50, 70};
  const Tensor few = random_weight(DType::kF32, fold, {1, 1}, 0.2);
  REQUIRE(pack_smallest(few, fold).has_value());
  CHECK(to_string(pack_smallest(few, fold)->block) == "1x1");
  CHECK(pack_smallest(random_weight(DType::kF32, fold, {1, 1}, 0.8), fold).has_value());
  CHECK_FALSE(pack_smallest(random_weight(DType::kF32, fold, {1, 1}, 1.0), fold).has_value());
}

TEST_CASE("half of the elements are packed, by a bitmap") {
  const Fold fold{1, 128, 128};
  for (const DType dtype : {DType::kF32, DType::kF16}) {
    const Tensor half = random_weight(dtype, fold, {1, 1}, 0.5);
    const auto packed = pack_smallest(half, fold);
    REQUIRE(packed.has_value());
    CHECK(to_string(packed->block) == "1x1");
    CHECK(packed_bytes(*packed) == packed->values.byte_size() + 128 * 128 / 8);
    CHECK(same_bits(decode(*packed), half));
  }
}

TEST_CASE("the block of a hint is tried beside the usual ones") {
  const Fold fold{1, 60, 60};
  const Tensor weight = random_weight(DType::kF32, fold, {5, 3}, 0.2);
  const auto hinted = pack_smallest(weight, fold, BlockShape{5, 3});
  REQUIRE(hinted.has_value());
  CHECK(to_string(hinted->block) == "5x3");
  const auto usual = pack_smallest(weight, fold);
  REQUIRE(usual.has_value());
  CHECK(packed_bytes(*hinted) < packed_bytes(*usual));
}

// In a file, with what the index adds to the decode.
size_t file_bytes(const SparseMatrix& matrix) {
  return packed_bytes(matrix) + (takes_bitmap(matrix) ? kLongerDecode : 0);
}

TEST_CASE("what is chosen is never larger than any of the usual packings, nor than the weight") {
  for (const bool transposed : {false, true}) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      for (const Fold shape : {Fold{1, 33, 21}, Fold{3, 19, 19}, Fold{2, 7, 130}, Fold{5, 1, 1}}) {
        for (const double density : {0.05, 0.4, 0.6}) {
          const Fold fold{shape.parts, shape.rows, shape.cols, transposed};
          const Tensor weight = random_weight(dtype, fold, {3, 2}, density);
          size_t least = weight.bytes().size();
          for (const BlockShape block : {BlockShape{16, 4},
                                         {16, 1},
                                         {8, 4},
                                         {8, 1},
                                         {4, 8},
                                         {4, 4},
                                         {4, 1},
                                         {1, 8},
                                         {1, 4},
                                         {1, 1}}) {
            for (const bool diagonal : {false, true}) {
              if (diagonal && fold.rows != fold.cols) continue;
              const BlockMask mask = nonzero_blocks(weight, fold, block, diagonal);
              least = std::min(least, file_bytes(pack_blocks(weight, fold, mask, diagonal)));
            }
          }
          const auto packed = pack_smallest(weight, fold);
          CHECK(packed.has_value() == (least < weight.bytes().size()));
          if (!packed) continue;
          CHECK(file_bytes(*packed) == least);
          CHECK(same_bits(decode(*packed), weight));
        }
      }
    }
  }
}

TEST_CASE("a diagonal is not kept apart where adding zero would change a value") {
  const Fold fold{1, 64, 64};
  for (const auto& [bits, apart] : {std::pair<uint32_t, bool>{0x3F800000, true},
                                    {0x80000000, true},     // a negative zero is a zero
                                    {0x7FA00000, false},    // a signalling NaN turns quiet
                                    {0x7FC00000, true},     // a quiet NaN stays
                                    {0xFF800000, true}}) {  // and so does infinity
    for (const size_t at : {size_t{5}, size_t{65}}) {       // inside a block, on the diagonal
      Tensor weight = random_weight(DType::kF32, fold, {16, 1}, 0.05);
      fill_diagonal(weight, fold);
      weight.mutable_data<uint32_t>()[at] = bits;
      const auto packed = pack_smallest(weight, fold);
      REQUIRE(packed.has_value());
      CAPTURE(bits);
      CHECK(packed->has_diagonal() == apart);
      if (bits != 0x80000000) CHECK(same_bits(decode(*packed), weight));
    }
  }
}

TEST_CASE("zeros of either sign cost nothing, a sign on the diagonal stays") {
  const Fold fold{1, 64, 64};
  Tensor plain = random_weight(DType::kF32, fold, {16, 1}, 0.05);
  fill_diagonal(plain, fold);
  Tensor masked = Tensor::zeros(DType::kF32, plain.shape());
  for (size_t i = 0; i < masked.count(); ++i) {
    const uint32_t bits = bits_at(plain, i);
    masked.mutable_data<uint32_t>()[i] = bits == 0 && i % 3 != 0 ? 0x80000000 : bits;
  }
  masked.mutable_data<uint32_t>()[65 * 7] = 0x80000000;
  const auto packed = pack_smallest(masked, fold), without = pack_smallest(plain, fold);
  REQUIRE((packed.has_value() && without.has_value()));
  CHECK(packed->block == without->block);
  CHECK(packed->col == without->col);
  CHECK(same_bits(packed->values, without->values));
  CHECK(bits_at(decode(*packed), 65 * 7) == 0x80000000);
}

TEST_CASE("a weight of zeros packs to nothing at all, an empty one is left") {
  const Fold fold{1, 20, 30};
  const auto packed = pack_smallest(Tensor::zeros(DType::kF32, {20, 30}), fold);
  REQUIRE(packed.has_value());
  CHECK(packed->blocks() == 0);
  CHECK(packed_bytes(*packed) == 0);
  CHECK(same_bits(decode(*packed), Tensor::zeros(DType::kF32, {20, 30})));
  CHECK_FALSE(pack_smallest(Tensor::zeros(DType::kF32, {0, 30}), Fold{1, 0, 30}).has_value());
}

}  // namespace
}  // namespace espalier
