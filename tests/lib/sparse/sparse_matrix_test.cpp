#include "lib/sparse/sparse_matrix.h"

#include <doctest/doctest.h>

#include <functional>

#include "lib/base/error.h"
#include "lib/sparse/pack.h"
#include "tests/lib/sparse/random_weight.h"

namespace espalier {
namespace {

std::string error_of(const SparseMatrix& matrix) {
  try {
    validate(matrix);
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::kFormat);
    return error.what();
  }
  return "";
}

// 3 gates of 20 rows and columns in blocks of 16x3: both edges stick out.
SparseMatrix good() {
  const Fold fold{3, 20, 20};
  const Tensor weight = random_weight(DType::kF32, fold, {1, 1}, 1.0);
  return pack_blocks(weight, fold, BlockMask({16, 3}, fold, true), true);
}

TEST_CASE("each broken invariant of a packed weight is an error that says which") {
  CHECK(error_of(good()).empty());
  struct Case {
    std::function<void(SparseMatrix&)> damage;
    std::string text;
  };
  const std::vector<Case> cases{
      {[](SparseMatrix& m) {
         m.block = {0, 3};
       },
       "block is 0x3"},
      {[](SparseMatrix& m) {
         m.shape = {3, 20, 21};
       },
       "does not fold"},
      {[](SparseMatrix& m) {
         m.shape = {-3, 20, -20};
       },
       "negative extent"},
      {[](SparseMatrix& m) { m.fold.parts = SIZE_MAX; }, "does not fold"},
      {[](SparseMatrix& m) { m.fold.rows = SIZE_MAX / 16; }, "does not fold"},
      {[](SparseMatrix& m) { m.dtype = DType::kI8; }, "packed weight is i8"},
      {[](SparseMatrix& m) {
         m.values = Tensor::zeros(DType::kF64, {42, 16, 3});
       },
       "values of a packed weight are f64"},
      {[](SparseMatrix& m) {
         m.values = Tensor::zeros(DType::kI8, {42, 16, 3});
       },
       "scale of i8 values is f32 of shape [0], expected f32 of shape [60]"},
      {[](SparseMatrix& m) {
         m.values = Tensor::zeros(DType::kI8, {42, 16, 3});
         m.scale = Tensor::of<float>({60}, std::vector<float>(60, -1.0F));
       },
       "scale holds -1"},
      {[](SparseMatrix& m) { m.scale = Tensor::zeros(DType::kF32, {60}); },
       "a scale is given for values of type f32"},
      {[](SparseMatrix& m) { m.row_start.pop_back(); }, "6 row starts"},
      {[](SparseMatrix& m) { m.row_start.clear(); }, "0 row starts"},
      {[](SparseMatrix& m) { m.row_start[0] = 1; }, "row starts run from 1"},
      {[](SparseMatrix& m) { m.row_start.back() = 43; }, "row starts run from 0 to 43"},
      {[](SparseMatrix& m) { m.row_start[2] = 40; }, "row starts descend at block row 2"},
      {[](SparseMatrix& m) { m.col[6] = 7; }, "block 6 is in block column 7, the grid has 7"},
      {[](SparseMatrix& m) { m.col[3] = 2; }, "ascending columns"},
      {[](SparseMatrix& m) { m.col[3] = 5; }, "ascending columns"},
      {[](SparseMatrix& m) {
         m.values = Tensor::zeros(DType::kF32, {42, 3, 16});
       },
       "values have shape [42, 3, 16]"},
      {[](SparseMatrix& m) { m.diagonal = Tensor::zeros(DType::kF32, {59}); },
       "diagonal is f32 of shape [59]"},
      {[](SparseMatrix& m) { m.diagonal = Tensor::zeros(DType::kF16, {60}); },
       "diagonal is f16 of shape [60]"},
      {[](SparseMatrix& m) {  // block row 1 holds rows 16 to 19, four of its sixteen
         m.values = m.values.copy();
         m.values.mutable_data<float>()[7 * 48 + 12] = 1;
       },
       "block 7 has a nonzero element outside of the weight"},
      {[](SparseMatrix& m) {  // block column 6 holds columns 18 and 19, two of its three
         m.values = m.values.copy();
         m.values.mutable_data<float>()[6 * 48 + 2] = 1;
       },
       "block 6 has a nonzero element outside of the weight"},
      {[](SparseMatrix& m) {
         m.values = m.values.copy();
         m.values.mutable_data<float>()[1] = 1;  // row 0, column 1
         m.values.mutable_data<float>()[4] = 1;  // row 1, column 1
       },
       "element 1 of the diagonal"},
      {[](SparseMatrix& m) {
         m.fold = {3, 10, 40};
         m.block = {5, 20};
         m.row_start.assign(7, 0);
         m.col.clear();
         m.values = Tensor::zeros(DType::kF32, {0, 5, 20});
       },
       "a diagonal is stored separately from matrices [10, 40]"},
  };
  for (const Case& c : cases) {
    SparseMatrix matrix = good();
    c.damage(matrix);
    CAPTURE(c.text);
    const std::string error = error_of(matrix);
    CAPTURE(error);
    CHECK(error.find(c.text) != std::string::npos);
  }
}

TEST_CASE("a negative zero where a block sticks out does no harm") {
  SparseMatrix matrix = good();
  matrix.values = matrix.values.copy();
  matrix.values.mutable_data<float>()[6 * 48 + 2] = -0.0F;
  CHECK(error_of(matrix).empty());
}

TEST_CASE("an empty weight is valid") {
  const Fold fold{1, 0, 5};
  const Tensor weight = Tensor::zeros(DType::kF32, {0, 5});
  const SparseMatrix packed = pack_blocks(weight, fold, BlockMask({4, 4}, fold, true), false);
  CHECK(error_of(packed).empty());
  CHECK(density(packed) == 0);
  CHECK(same_bits(decode(packed), weight));
}

}  // namespace
}  // namespace espalier
