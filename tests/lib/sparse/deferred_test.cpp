#include <doctest/doctest.h>

#include "lib/sparse/pack.h"

namespace espalier {
namespace {

Tensor weight(const Fold& fold) {
  Tensor result = Tensor::zeros(
      DType::kF32, {static_cast<int64_t>(fold.parts * fold.rows), static_cast<int64_t>(fold.cols)});
  const auto data = result.mutable_data<float>();
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>(i % 97 + 1);
  return result;
}

BlockMask every_third(BlockShape block, const Fold& fold) {
  BlockMask mask(block, fold, false);
  for (size_t i = 0; i < mask.blocks(); i += 3) mask.kept[i] = true;
  return mask;
}

void check_equal(const SparseMatrix& a, const SparseMatrix& b) {
  CHECK(a.row_start == b.row_start);
  CHECK(a.col == b.col);
  CHECK(same_bits(a.values, b.values));
  CHECK(same_bits(a.diagonal, b.diagonal));
  CHECK(same_bits(decode(a), decode(b)));
}

TEST_CASE("what is packed when it is looked at is what is packed at once") {
  ThreadPool pool(3);
  for (const bool transposed : {false, true}) {
    for (const bool diagonal : {false, true}) {
      for (const BlockShape block : {BlockShape{1, 1}, BlockShape{16, 1}, BlockShape{5, 3}}) {
        CAPTURE(transposed);
        CAPTURE(to_string(block));
        Fold fold{2, 33, 33};
        fold.transposed = transposed;
        const Tensor dense = weight(fold);
        const BlockMask mask = every_third(block, fold);
        const SparseMatrix at_once = pack_blocks(dense, fold, mask, diagonal);
        check_equal(pack_blocks(dense, fold, mask, diagonal, &pool), at_once);
        CHECK(same_bits(decode(at_once, &pool), decode(at_once)));
        const SparseMatrix later = pack_blocks_deferred(dense, fold, mask, diagonal, 3);
        CHECK(later.is_deferred());
        CHECK(packed_bytes(later) == packed_bytes(at_once));
        CHECK(later.has_diagonal() == diagonal);
        check_equal(later, at_once);
        later.give_back();
        validate(later);
        const SparseMatrix lasting = held(later);
        later.give_back();
        CHECK_FALSE(lasting.is_deferred());
        check_equal(lasting, at_once);
      }
    }
  }
}

TEST_CASE("the parts of a deferred matrix are made together, once while one is held") {
  const Fold fold{1, 32, 8};
  const SparseMatrix plain = pack_blocks(weight(fold), fold, every_third({8, 1}, fold), false);
  size_t made = 0;
  const SparseMatrix later = deferred(plain, [&] {
    ++made;
    return plain;
  });
  CHECK(later.blocks() == plain.blocks());
  CHECK(made == 0);
  check_equal(later, plain);
  CHECK(made == 1);
  later.give_back();
  check_equal(later, plain);
  CHECK(made == 2);
}

TEST_CASE("indices are shared until one of them is changed") {
  Indices a{1, 2, 3};
  const Indices b = a;
  a[1] = 7;
  a.push_back(9);
  CHECK(b == Indices{1, 2, 3});
  CHECK(a == Indices{1, 7, 3, 9});
  size_t made = 0;
  Indices later = Indices::deferred(2, [&] {
    ++made;
    return std::make_shared<const std::vector<uint32_t>>(std::vector<uint32_t>{4, 5});
  });
  const Indices shared = later;
  CHECK(later.size() == 2);
  CHECK(made == 0);
  CHECK(shared[1] == 5);
  shared.give_back();
  later.back() = 6;
  CHECK(made == 2);
  CHECK(later == Indices{4, 6});
  CHECK(shared == Indices{4, 5});
}

}  // namespace
}  // namespace espalier
