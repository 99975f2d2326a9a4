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

TEST_CASE("a block of negative zeros is not kept, beside others they keep their sign") {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    std::vector<float> values(32 * 3, -0.0F);
    values[3 * 20 + 1] = 5;
    const Tensor dense = from_f32(values, dtype, {32, 3});
    const Fold fold{1, 32, 3};
    const BlockMask mask = nonzero_blocks(dense, fold, {16, 1}, false);
    CHECK(mask.kept_blocks() == 1);
    CHECK(mask.at(0, 20, 1));
    const Tensor decoded = decode(pack_blocks(dense, fold, mask, false));
    for (size_t i = 0; i < values.size(); ++i) {
      const bool kept = i >= 48 && i % 3 == 1;
      CHECK(bits_at(decoded, i) == (kept ? bits_at(dense, i) : 0));
    }
  }
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

// Squared error of an output, and what rounding to whole 127ths of its largest magnitude costs.
struct OutputError {
  double found = 0, plain = 0;
};

std::vector<OutputError> errors(const std::vector<float>& values, const std::vector<float>& decoded,
                                size_t outputs) {
  std::vector<OutputError> result(outputs);
  const size_t length = values.size() / outputs;
  for (size_t output = 0; output < outputs; ++output) {
    double most = 0;
    for (size_t i = output * length; i < (output + 1) * length; ++i)
      most = std::max(most, std::abs(static_cast<double>(values[i])));
    for (size_t i = output * length; i < (output + 1) * length; ++i) {
      const double value = values[i], step = most / 127;
      const double rounded = most == 0 ? 0 : std::nearbyint(value / step) * step;
      result[output].found += (decoded[i] - value) * (decoded[i] - value);
      result[output].plain += (rounded - value) * (rounded - value);
    }
  }
  return result;
}

TEST_CASE("i8 values cost no more than rounding to whole 127ths, a diagonal nothing") {
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
    CHECK(narrow.scale.data<float>()[2] == 0);
    const std::vector<float> decoded = to_f32(decode(narrow));
    std::vector<float> wanted = values, found = decoded;
    for (size_t i = 0; diagonal && i < 50; ++i) {
      if (i % 25 % 6 != 0) continue;
      CHECK(decoded[i] == values[i]);
      wanted[i] = found[i] = 0;
    }
    for (const OutputError& error : errors(wanted, found, 10))
      CHECK(error.found <= 1.0001 * error.plain);  // the scale is rounded to f32
    CHECK(same_bits(decode(with_values(narrow, DType::kF32)), decode(narrow)));
  }
}

TEST_CASE("a few large weights are cut off where the others gain more by it") {
  std::vector<float> values(20000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i));
  values[500] = 1.3F;
  const Fold fold{1, 1, 20000};
  const Tensor dense = Tensor::of<float>({1, 20000}, values);
  const SparseMatrix narrow =
      with_values(pack_blocks(dense, fold, BlockMask({1, 4}, fold, true), false), DType::kI8);
  CHECK(narrow.scale.data<float>()[0] < 1.3F / 127);
  const OutputError error = errors(values, to_f32(decode(narrow)), 1)[0];
  CHECK(error.found < 0.97 * error.plain);
}

TEST_CASE("i8 values at both ends of the floats: subnormals, the largest finite value") {
  const float most = std::numeric_limits<float>::max();
  const float least = std::numeric_limits<float>::denorm_min();
  const Fold fold{1, 4, 2};
  const std::vector<float> values{most,        -most,       least,          -least,
                                  100 * least, -99 * least, 200000 * least, 0};
  const SparseMatrix packed =
      pack_blocks(Tensor::of<float>({4, 2}, values), fold, BlockMask({4, 1}, fold, true), false);
  const SparseMatrix narrow = with_values(packed, DType::kI8);
  validate(narrow);
  const std::vector<float> decoded = to_f32(decode(narrow));
  CHECK(decoded[0] == doctest::Approx(most));
  CHECK(decoded[1] == doctest::Approx(-most));
  for (size_t i = 2; i < 6; ++i) CHECK(decoded[i] == values[i]);
  CHECK(std::abs(decoded[6] - values[6]) <= 0.005F * values[6]);
}

TEST_CASE("values that do not fit are refused with their place in the weight") {
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    for (const bool transposed : {false, true}) {
      std::vector<float> values(50, 1);
      values[25 + 3 * 5 + 2] = bad;
      const Fold fold{2, 5, 5, transposed};
      const SparseMatrix packed = pack_blocks(Tensor::of<float>({2, 5, 5}, values), fold,
                                              BlockMask({2, 2}, fold, true), false);
      const std::string text = std::isnan(bad) ? "nan" : bad < 0 ? "-inf" : "inf";
      CHECK_THROWS_WITH(with_values(packed, DType::kI8),
                        ("element [1, 3, 2] is " + text + ", which does not fit into i8").c_str());
      CHECK_NOTHROW(with_values(packed, DType::kBF16));
    }
  }
}

TEST_CASE("bf16 values are rounded to nearest, ties to even") {
  const std::vector<float> values{0x1.01p0F,     0x1.03p0F,  0x1.02p0F,
                                  0x1.010002p0F, -0x1.01p0F, 0x1p-133F};
  const std::vector<float> wanted{1, 0x1.04p0F, 0x1.02p0F, 0x1.02p0F, -1, 0x1p-133F};
  const Fold fold{1, 1, 6};
  const SparseMatrix packed =
      pack_blocks(Tensor::of<float>({1, 6}, values), fold, BlockMask({1, 1}, fold, true), false);
  CHECK(to_f32(decode(with_values(packed, DType::kBF16))) == wanted);
}

TEST_CASE("values in other blocks keep their type and scale") {
  const Fold fold{3, 17, 17};
  const Tensor dense = random_weight(DType::kF32, fold, {16, 1}, 0.3);
  for (const bool diagonal : {false, true}) {
    const SparseMatrix packed =
        pack_blocks(dense, fold, nonzero_blocks(dense, fold, {16, 1}, diagonal), diagonal);
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8}) {
      const SparseMatrix narrow = with_values(packed, dtype);
      const Tensor decoded = decode(narrow);
      const SparseMatrix other = with_values_like(
          pack_blocks(decoded, fold, nonzero_blocks(decoded, fold, {4, 4}, diagonal), diagonal),
          narrow);
      CHECK(other.block == BlockShape{4, 4});
      CHECK(other.values.dtype() == dtype);
      CHECK(same_bits(other.scale, narrow.scale));
      CHECK(same_bits(decode(other), decoded));
    }
  }
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

TEST_CASE("bytes count a bitmap where that is smaller than index pairs by what its decode takes") {
  const Fold fold{1, 64, 256};
  const auto bytes = [&](size_t kept, BlockShape block) {
    BlockMask mask(block, fold, false);
    std::fill_n(mask.kept.begin(), kept, true);
    const Tensor weight = random_weight(DType::kF32, fold, {1, 1}, 1.0);
    return packed_bytes(pack_blocks(weight, fold, mask, false)) - kept * block.area() * 4;
  };
  CHECK(bytes(1023, {1, 1}) == 1023 * 4);
  CHECK(bytes(1024, {1, 1}) == 64 * 256 / 8);
  CHECK(bytes(8192, {1, 1}) == 64 * 256 / 8);
  CHECK(bytes(2048, {2, 2}) == 32 * 128 / 8);
  CHECK(bytes(512, {8, 2}) == 512 * 4);       // large blocks
  CHECK(bytes(1024, {8, 2}) == 8 * 128 / 8);  // all of them: with pairs not smaller than dense
  const Fold large{1, 2048, 256};
  BlockMask all({16, 8}, large, true);  // blocks of 128 elements: pairs are nothing beside these
  const Tensor weight = random_weight(DType::kF32, large, {1, 1}, 1.0);
  CHECK(packed_bytes(pack_blocks(weight, large, all, false)) == (2048 * 256 + 128 * 32) * 4);
}

}  // namespace
}  // namespace espalier
