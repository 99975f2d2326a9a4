#include "lib/prune/pack/tables.h"

#include <doctest/doctest.h>

#include <cmath>

#include "lib/base/log.h"
#include "lib/prune/pack/convert.h"
#include "lib/sparse/pack.h"

namespace espalier {
namespace {

// y = Gather(table [100, 40], i), of which row 7 is zeros.
Model table_model(DType dtype = DType::kF32) {
  Model model;
  model.origin.opset = 17;
  Graph& graph = model.graph;
  const ValueId table = add_value(graph, "table", dtype, Shape{100, 40});
  const ValueId i = add_value(graph, "i", DType::kI64, Shape{3});
  const ValueId y = add_value(graph, "y", dtype, Shape{3, 40});
  std::vector<float> values(4000);
  for (size_t at = 0; at < values.size(); ++at)
    values[at] = at / 40 == 7 ? 0.0F : std::sin(static_cast<float>(at));
  graph.weights[table] = {from_f32(values, dtype, {100, 40}), {}};
  graph.inputs = {i};
  graph.outputs = {y};
  graph.nodes.push_back({"Gather", "", "look", {table, i}, {y}, {}, {}});
  return model;
}

const Weight& only_weight(const Model& model) {
  REQUIRE(model.graph.weights.size() == 1);
  return model.graph.weights.begin()->second;
}

Model narrowed(const Model& model, const char* values) {
  ThreadPool pool(1);
  return with_narrow_tables(model, select_layers(model, packable()), values, pool);
}

TEST_CASE("tables of Gather take the type of narrower values, row by row") {
  const Model model = table_model();
  const Tensor dense = only_weight(model).dense();
  for (const auto& [values, dtype] :
       {std::pair{"f16", DType::kF16}, {"bf16", DType::kBF16}, {"i8", DType::kI8}}) {
    CAPTURE(values);
    const Weight weight = only_weight(narrowed(model, values));
    REQUIRE(weight.is_sparse());
    const SparseMatrix& packed = weight.sparse();
    CHECK_NOTHROW(validate(packed));
    CHECK(packed.values.dtype() == dtype);
    CHECK(packed.dtype == DType::kF32);
    CHECK(packed.block == BlockShape{1, 40});
    CHECK(packed.blocks() == 99);
    CHECK(packed_bytes(packed) == 99 * (40 * bytes_of(dtype) + 4) + packed.scale.byte_size());
    if (dtype == DType::kI8) continue;
    const Tensor rounded = from_f32(to_f32(dense), dtype, dense.shape());
    CHECK(to_f32(decode(packed)) == to_f32(rounded));
  }
}

TEST_CASE("tables stay as they are where values are no narrower, or nothing is asked for") {
  for (const char* values : {"", "f32"}) {
    CHECK_FALSE(only_weight(narrowed(table_model(), values)).is_sparse());
  }
  CHECK_FALSE(only_weight(narrowed(table_model(DType::kF16), "bf16")).is_sparse());
  CHECK(only_weight(narrowed(table_model(DType::kF16), "i8")).is_sparse());
  Model model = table_model();  // saves 0.8 KiB
  model.graph.weights.begin()->second = {Tensor::zeros(DType::kF32, {10, 40}), {}};
  CHECK_FALSE(only_weight(narrowed(model, "f16")).is_sparse());
}

TEST_CASE("rows longer than a block can be are cut, one with a value that does not fit stays") {
  Model model = table_model();
  Tensor wide = Tensor::zeros(DType::kF32, {2, 5000});
  for (float& value : wide.mutable_data<float>()) value = 1;
  model.graph.weights.begin()->second = {wide, {}};
  const Weight weight = only_weight(narrowed(model, "f16"));
  REQUIRE(weight.is_sparse());
  CHECK(weight.sparse().block == BlockShape{1, 2500});
  CHECK(same_bits(decode(weight.sparse()), wide));
  wide = wide.copy();
  wide.mutable_data<float>()[3] = 1e9F;
  model.graph.weights.begin()->second = {wide, {}};
  set_log_level(LogLevel::kQuiet);
  CHECK_FALSE(only_weight(narrowed(model, "f16")).is_sparse());
}

TEST_CASE("convert narrows tables with --values, and decodes them again") {
  ThreadPool pool(1);
  ConvertOptions options;
  options.values = "f16";
  const Model packed = converted(table_model(), options, pool).packed;
  REQUIRE(only_weight(packed).is_sparse());
  options = {};
  options.pack = ConvertOptions::Pack::kDense;
  CHECK_FALSE(only_weight(converted(packed, options, pool).packed).is_sparse());
}

}  // namespace
}  // namespace espalier
