#include "lib/search/value_types.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "lib/prune/choose/make_plan.h"
#include "lib/prune/pack/pack_weights.h"
#include "tests/lib/prune/prune_models.h"

namespace espalier {
namespace {

// x [N, 40] -> MatMul [40, 64] -> MatMul [64, 32] (too small to prune), and a table [128, 40] that
// Gather reads. In the first, input 0 has weights that no other comes near.
Model model_of_three() {
  test::ModelBuilder b;
  const ValueId x = b.input("x");
  b.model.graph.values[x].dtype = DType::kF32;
  b.model.graph.values[x].shape = Shape{-1, 40};
  std::vector<float> first = to_f32(test::random_tensor({40, 64}, 1));
  std::fill_n(first.begin(), 64, 3000.0F);
  const ValueId h = b.matmul("first", x, Tensor::of<float>({40, 64}, first));
  const ValueId table = b.weight("table", test::random_tensor({128, 40}, 3));
  const ValueId index = b.weight("index", Tensor::of<int64_t>({2}, std::vector<int64_t>{3, 5}));
  const ValueId y = b.matmul("second", h, test::random_tensor({64, 32}, 2));
  b.model.graph.outputs = {y, b.node("Gather", "look", {table, index})};
  b.model.origin.opset = 17;
  return b.model;
}

// Inputs among which number 0 never occurs.
CalibrationFeeds feeds_of(const Model& model) {
  CalibrationFeeds feeds;
  std::vector<float> x = to_f32(test::random_tensor({64, 40}, 7));
  for (size_t i = 0; i < 64; ++i) x[i * 40] = 0;
  feeds.data.arrays["x"] = Tensor::of<float>({64, 40}, x);
  feeds.data.batch = 8;
  feeds.feeds = make_feeds(model, feeds.data);
  return feeds;
}

struct Case {
  Model model = model_of_three();
  CalibrationFeeds feeds = feeds_of(model);
  PruneOptions options;
  ThreadPool pool{1};

  Case() {
    options.select.min_weights = 2100;
    options.block = {8, 1};
  }
  PrunePlan plan() { return make_plan(model, options, pool); }
  ValueTypes types() {
    PruneData data{select_layers(model, options.select), nullptr, nullptr, {}};
    data.others = &feeds;
    return {model, options, data, pool};
  }
  std::string type_of(const ValueTypes& types, size_t level, const std::string& weight) {
    PrunePlan plan = this->plan();
    types.set(level, plan);
    const auto found = std::ranges::find(plan.layers, weight,
                                         [](const LayerPlan& layer) { return layer.layer.weight; });
    REQUIRE(found != plan.layers.end());
    return found->values;
  }
};

TEST_CASE("the layer that i8 costs most is the first to become f16; the last level changes none") {
  Case c;
  const ValueTypes types = c.types();
  CHECK(types.feeds() == 8);
  REQUIRE(types.levels() >= 3);
  for (const char* weight : {"first.w", "second.w", "table"}) {
    CHECK(c.type_of(types, 0, weight) == "i8");
    CHECK(c.type_of(types, types.levels() - 2, weight) == "f16");
    CHECK(c.type_of(types, types.levels() - 1, weight) == "");
  }
  CHECK(c.type_of(types, 1, "first.w") == "f16");
  CHECK(c.type_of(types, 1, "second.w") == "i8");
}

TEST_CASE("what is left out is stored whole in the type that was chosen") {
  Case c;
  const ValueTypes types = c.types();
  PrunePlan plan = c.plan();
  types.set(0, plan);
  const Model packed = pack_weights(c.model, plan, c.pool);
  for (const LayerPlan& layer : plan.layers) {
    CAPTURE(layer.layer.weight);
    const Weight& weight = weight_of(packed, layer.layer);
    REQUIRE(weight.is_sparse());
    CHECK(weight.sparse().values.dtype() == DType::kI8);
    if (!layer.layer.left_out.empty()) CHECK(density(weight.sparse()) >= 1);
  }
  CHECK(stored_types(packed, plan.layers) == "3 i8");
}

TEST_CASE("excluded and skipped weights take no type") {
  Case c;
  c.options.select.exclude = {"table"};
  c.options.rules.push_back({"second", {}, false});
  c.options.rules.back().options.skip = true;
  const ValueTypes types = c.types();
  CHECK(c.type_of(types, 0, "first.w") == "i8");
  CHECK(c.type_of(types, 0, "second.w") == "");
  CHECK(c.type_of(types, 0, "table") == "");
}

TEST_CASE("f16 is not chosen for values that it cannot hold") {
  Case c;
  const ValueId first = 1;
  std::vector<float> values = to_f32(c.model.graph.weights.at(first).dense());
  values[0] = 1e6F;
  c.model.graph.weights.at(first) = {Tensor::of<float>({40, 64}, values), {}};
  const ValueTypes types = c.types();
  for (size_t level = 0; level < types.levels(); ++level)
    CHECK(c.type_of(types, level, "first.w") != "f16");
  CHECK(c.type_of(types, types.levels() - 2, "second.w") == "f16");
}

}  // namespace
}  // namespace espalier
