#include "lib/verify/evaluation.h"

#include <doctest/doctest.h>

#include "lib/sparse/pack.h"
#include "lib/verify/compare_runs.h"
#include "lib/verify/run_checks.h"
#include "tests/lib/verify/small_model.h"

namespace espalier {
namespace {

template <typename T>
Tensor tensor(Shape shape, const std::vector<T>& values) {
  return Tensor::of<T>(std::move(shape), values);
}

TEST_CASE("each tenth feed is held out, and the shares make up the whole") {
  const Model model = matmul_model();
  DataSet data;
  data.arrays.emplace("x", counted({25, 3}));
  const auto feeds = [&](Share share) { return evaluation_of(model, data, share, {}).feeds; };
  CHECK(feeds(Share::kAll).size() == 25);
  CHECK(feeds(Share::kHeldOut).size() == 2);
  CHECK(feeds(Share::kOthers).size() == 23);
  CHECK(values_of(feeds(Share::kHeldOut)[0].at("x")) == std::vector<float>{27, 28, 29});
}

TEST_CASE("random inputs are ones that the model runs on") {
  const Evaluation found = random_evaluation(matmul_model(), {}, {.seed = 3}, {});
  CHECK(found.random);
  CHECK(found.not_run.empty());
  REQUIRE(found.feeds.size() == 1);
  CHECK(found.feeds[0].at("x").shape() == Shape{2, 3});
  const Evaluation bound =
      random_evaluation(matmul_model(), {}, {.seed = 3, .shapes = {{"x", {5, 3}}}}, {});
  CHECK(bound.feeds.at(0).at("x").shape() == Shape{5, 3});
}

TEST_CASE("a model that cannot be run says why, once, with each operator named once") {
  Model model = matmul_model();
  model.graph.nodes.push_back({"NoSuchOp", "", "", {2}, {add_value(model.graph, "z")}, {}, {}});
  model.graph.nodes.push_back({"NoSuchOp", "", "", {3}, {add_value(model.graph, "u")}, {}, {}});
  model.graph.outputs = {4};
  CHECK(lacking_operators(model) == "the runtime does not support NoSuchOp");
  CHECK(random_evaluation(model, {}, {}, {}).not_run == "the runtime does not support NoSuchOp");
}

PackedModels packed_models(const std::vector<float>& stored) {
  PackedModels models;
  models.before = models.masked = models.packed = matmul_model();
  const Fold fold{1, 2, 3, true};
  const Tensor dense = Tensor::of<float>({3, 2}, stored);
  models.packed.graph.weights.begin()->second.value =
      pack_blocks(dense, fold, nonzero_blocks(dense, fold, {1, 1}, false), false);
  Layer layer;
  layer.weight = "w";
  layer.value = 1;
  layer.input = 1;
  layer.shape = {3, 2};
  layer.fold = fold;
  models.layers = {layer};
  return models;
}

TEST_CASE("models of a job are run side by side, with a metric where there are labels") {
  DataSet data;
  data.arrays.emplace("x", tensor<float>({2, 3}, {1, 0, 0, /**/ 0, 1, 0}));
  const PackedModels models = packed_models({1, 0, 3, 4, 5, 6});  // 2 was pruned
  const LabelledMetric labels{"top1", tensor<int64_t>({2}, {1, 1})};
  const Evaluation evaluation = evaluation_of(models.before, data, Share::kAll, labels);
  const RunChecks checks = run_checks(models, evaluation, {});
  CHECK(checks.samples == 2);
  CHECK(equal_to_rounding(checks.packed));
  REQUIRE(checks.cost);
  CHECK_FALSE(equal_to_rounding(*checks.cost));
  REQUIRE(checks.metric);
  CHECK(checks.metric->a == 1.0);
  CHECK(checks.metric->b == 0.5);
  REQUIRE(checks.output_errors.size() == 1);
  CHECK(*checks.output_errors[0] > 0);
  const auto back = run_read_back(models, models.before, evaluation, {});
  REQUIRE(back);
  CHECK_FALSE(equal_to_rounding(back->comparison));
  CHECK(*back->metric == 1.0);
}

TEST_CASE("two models are compared, packed with decoded, and with passes against without") {
  DataSet data;
  data.arrays.emplace("x", counted({4, 3}));
  const Model dense = matmul_model();
  const Model packed = packed_models({1, 2, 3, 4, 5, 6}).packed;
  const Evaluation evaluation = evaluation_of(dense, data, Share::kAll, {});
  const ModelComparison same = compare_runs(dense, packed, evaluation, {}, {});
  CHECK(same.outputs.ok());
  CHECK(same.packed.outputs.size() == 1);
  CHECK(same.passes.ok());
  CHECK(compare_runs(packed, dense, evaluation, {}, {}).packed.outputs.empty());
  CHECK_FALSE(
      compare_runs(dense, matmul_model({1, 2, 3, 4, 5, 7}), evaluation, {}, {}).outputs.ok());
}

}  // namespace
}  // namespace espalier
