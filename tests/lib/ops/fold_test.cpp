#include "lib/ops/fold.h"

#include <doctest/doctest.h>

#include "lib/ops/operator.h"

namespace espalier {
namespace {

std::optional<Fold> fold_of(const Node& node, size_t input, const Shape& shape) {
  const Operator* entry = find_operator(node.op, node.domain);
  REQUIRE(entry != nullptr);
  return entry->fold(node, input, shape);
}

Node node_of(std::string op) {
  Node node;
  node.op = std::move(op);
  return node;
}

TEST_CASE("weights fold to outputs by inputs") {
  Node gemm = node_of("Gemm");
  CHECK(fold_of(gemm, 1, {64, 10}) == Fold{1, 10, 64, true});
  set_attribute(gemm, "transB", int64_t{1});
  CHECK(fold_of(gemm, 1, {10, 64}) == Fold{1, 10, 64, false});

  const Node matmul = node_of("MatMul");
  CHECK(fold_of(matmul, 1, {64, 10}) == Fold{1, 10, 64, true});
  CHECK(fold_of(matmul, 1, {2, 3, 64, 10}) == Fold{6, 10, 64, true});
  CHECK(fold_of(matmul, 0, {64, 10}) == Fold{1, 64, 10, false});

  Node conv = node_of("Conv");
  CHECK(fold_of(conv, 1, {32, 16, 3, 5}) == Fold{1, 32, 240, false});
  set_attribute(conv, "group", int64_t{4});
  CHECK(fold_of(conv, 1, {32, 4, 3}) == Fold{4, 8, 12, false});

  Node transposed = node_of("ConvTranspose");
  CHECK(fold_of(transposed, 1, {16, 32, 3, 5}) == Fold{1, 480, 16, true});
  set_attribute(transposed, "group", int64_t{4});
  CHECK(fold_of(transposed, 1, {16, 8, 3}) == Fold{4, 24, 4, true});
  CHECK(!fold_of(transposed, 1, {18, 8, 3}));

  Node exchanged = node_of("FusedMatMul");
  exchanged.domain = "com.microsoft";
  CHECK(fold_of(exchanged, 1, {64, 10}) == Fold{1, 10, 64, true});
  set_attribute(exchanged, "transB", int64_t{1});
  CHECK(fold_of(exchanged, 1, {2, 64, 10}) == Fold{2, 64, 10, false});

  CHECK(fold_of(node_of("GRU"), 1, {2, 288, 64}) == Fold{6, 96, 64, false});
  CHECK(fold_of(node_of("LSTM"), 2, {1, 512, 128}) == Fold{4, 128, 128, false});
  CHECK(fold_of(node_of("RNN"), 2, {2, 7, 7}) == Fold{2, 7, 7, false});
}

TEST_CASE("inputs that are no weights, and shapes that do not fit, do not fold") {
  CHECK(!fold_of(node_of("Gemm"), 0, {4, 4}));
  CHECK(!fold_of(node_of("Gemm"), 2, {4}));
  CHECK(!fold_of(node_of("MatMul"), 0, {2, 4, 4}));
  CHECK(!fold_of(node_of("MatMul"), 1, {4}));
  CHECK(!fold_of(node_of("MatMul"), 1, {0, 4}));
  CHECK(!fold_of(node_of("GRU"), 1, {1, 7, 4}));
  CHECK(!fold_of(node_of("GRU"), 3, {1, 6, 4}));
  CHECK(!fold_of(node_of("GRU"), 1, {3, 6, 4}));
  Node conv = node_of("Conv");
  set_attribute(conv, "group", int64_t{3});
  CHECK(!fold_of(conv, 1, {32, 4, 3}));
}

}  // namespace
}  // namespace espalier
