#include "lib/calibrate/sequential.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <set>

#include "lib/prune/options/prune_options.h"
#include "lib/prune/refit/apply_plan.h"
#include "lib/runtime/executor.h"
#include "lib/verify/compare.h"

namespace espalier {
namespace {

Tensor random_tensor(Shape shape, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(element_count(shape));
  for (float& value : values) value = normal(engine);
  return Tensor::of<float>(std::move(shape), values);
}

// y = (x a) b, z = x c, x [n, 16], a [16, 24], b [24, 8], c [16, 8]
Model three_products(const Tensor& a) {
  Model model;
  Graph& graph = model.graph;
  const ValueId x = add_value(graph, "x", DType::kF32, Shape{-1, 16});
  const ValueId wa = add_value(graph, "a"), wb = add_value(graph, "b"), wc = add_value(graph, "c");
  const ValueId h = add_value(graph, "h"), y = add_value(graph, "y"), z = add_value(graph, "z");
  graph.weights[wa] = {a, {}};
  graph.weights[wb] = {random_tensor({24, 8}, 2), {}};
  graph.weights[wc] = {random_tensor({16, 8}, 3), {}};
  graph.nodes.push_back({"MatMul", "", "first", {x, wa}, {h}, {}, {}});
  graph.nodes.push_back({"MatMul", "", "second", {h, wb}, {y}, {}, {}});
  graph.nodes.push_back({"MatMul", "", "beside", {x, wc}, {z}, {}, {}});
  graph.inputs = {x};
  graph.outputs = {y, z};
  model.origin.opset = 17;
  return model;
}

std::vector<Layer> all_layers(const Model& model) {
  SelectOptions all;
  all.min_weights = 1;
  return select_layers(model, all);
}

MakePairedPass pass_over(const Tensor& x) {
  return [x](const Model& unchanged, const Model& changed) -> PairedPass {
    return [&, x](ProductObserver& a, ProductObserver& b, const std::function<void()>& fed) {
      Executor(unchanged, {.observer = &a}).run({{"x", x}});
      Executor(changed, {.observer = &b}).run({{"x", x}});
      fed();
    };
  };
}

std::vector<float> product(const Tensor& x, const Tensor& w) {
  const auto n = static_cast<size_t>(x.shape()[0]), k = static_cast<size_t>(w.shape()[0]),
             m = static_cast<size_t>(w.shape()[1]);
  std::vector<float> y(n * m, 0);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < k; ++j) {
      for (size_t c = 0; c < m; ++c)
        y[i * m + c] += x.data<float>()[i * k + j] * w.data<float>()[j * m + c];
    }
  }
  return y;
}

double distance(const Model& a, const Model& b, const Tensor& x) {
  Comparer comparer({});
  comparer.add(Executor(a, {}).run({{"x", x}}), Executor(b, {}).run({{"x", x}}));
  return comparer.result().outputs.at(0).relative_error;
}

}  // namespace

TEST_CASE("stages go by what lies before a layer; recurrent and left out ones are in none") {
  const Model model = three_products(random_tensor({16, 24}, 1));
  const auto layers = all_layers(model);
  const auto stages = stages_of(model.graph, layers);
  REQUIRE(stages.size() == 2);
  CHECK(stages[0].size() == 2);  // a and c
  REQUIRE(stages[1].size() == 1);
  CHECK(layers[stages[1][0]].weight == "b");
  std::vector<Layer> left = layers;
  left[0].left_out = "not asked for";
  CHECK(stages_of(model.graph, left) == std::vector<std::vector<size_t>>{{1, 2}});
}

TEST_CASE("a model that is cut ends where its layers do") {
  const Model model = three_products(random_tensor({16, 24}, 1));
  std::vector<Layer> first{all_layers(model)[0]};
  REQUIRE(first[0].weight == "a");
  const Model cut = cut_behind(model, first, {"z"});
  REQUIRE(cut.graph.outputs.size() == 2);
  CHECK(cut.graph.values[cut.graph.outputs[0]].name == "z");
  CHECK(cut.graph.values[cut.graph.outputs[1]].name == "h");
}

TEST_CASE("paired moments: the changed model's samples, and the unchanged one's beside them") {
  const Tensor a = random_tensor({16, 24}, 1), other = random_tensor({16, 24}, 9),
               x = random_tensor({300, 16}, 4);
  const Model unchanged = three_products(a), changed = three_products(other);
  const auto layers = all_layers(unchanged);
  const Statistics found =
      collect_paired(unchanged, changed, layers, pass_over(x)(unchanged, changed), {});
  const InputMoments& b = found.find("b")->inputs.at(0);
  CHECK(b.samples == 300);
  CHECK(found.find("b")->fingerprint == fingerprint_of(weight_of(unchanged, layers[1])));
  const std::vector<float> before = product(x, a), after = product(x, other);
  for (size_t i = 0; i < 24; i += 5) {
    double mean = 0;
    for (size_t s = 0; s < 300; ++s) mean += before[s * 24 + i] / 300.0;
    CHECK(b.original_mean.data<double>()[i] == doctest::Approx(mean).epsilon(1e-5));
    for (size_t j = 0; j < 24; j += 3) {
      double cross = 0, second = 0;
      for (size_t s = 0; s < 300; ++s) {
        cross += static_cast<double>(before[s * 24 + i]) * after[s * 24 + j] / 300;
        second += static_cast<double>(after[s * 24 + i]) * after[s * 24 + j] / 300;
      }
      CHECK(b.cross.data<double>()[i * 24 + j] == doctest::Approx(cross).epsilon(1e-4));
      CHECK(b.second.data<double>()[i * 24 + j] == doctest::Approx(second).epsilon(1e-4));
    }
  }
}

TEST_CASE("layers refitted in order come nearer to the unchanged outputs than each by itself") {
  const Model model = three_products(random_tensor({16, 24}, 1));
  const Tensor x = random_tensor({400, 16}, 4);
  PruneOptions options;
  options.method = "obs";
  options.block = {4, 1};
  options.sparsity = 0.5;
  options.sequential = true;
  options.select.min_weights = 1;
  const auto calibrate = [&](ProductObserver& observer) {
    Executor(model, {.observer = &observer}).run({{"x", x}});
  };
  const Statistics statistics =
      collect_statistics(model, all_layers(model), calibrate, {}).statistics;
  ThreadPool pool(2);
  const ScoredPlan scored =
      score_plan(model, select_layers(model, options.select), options, pool, &statistics);
  PrunePlan plan = choose_plan(scored, 0.5, pool);
  const Refitted alone = refit(model, plan, statistics, pool);
  const double by_itself = distance(model, alone.model, x);
  for (const ScoredPlan* again : {static_cast<const ScoredPlan*>(nullptr), &scored}) {
    Refitted in_order = alone;
    PrunePlan chosen = plan;
    prune_in_order(model, again, chosen, in_order, pass_over(x), {}, pool);
    CHECK(distance(model, in_order.model, x) < 0.97 * by_itself);
    for (size_t i = 0; i < plan.layers.size(); ++i)
      CHECK(chosen.layers[i].mask.kept_blocks() == plan.layers[i].mask.kept_blocks());
    // Dropped blocks are zeros in what comes out.
    const Model masked = apply_plan(in_order.model, chosen, pool);
    CHECK(distance(in_order.model, masked, x) == 0);
  }
}

TEST_CASE("a layer that is too small makes up for pruned ones before it, others stay") {
  const Model model = three_products(random_tensor({16, 24}, 1));
  const Tensor x = random_tensor({400, 16}, 4);
  PruneOptions options;
  options.method = "obs";
  options.block = {4, 1};
  options.sparsity = 0.6;
  options.select.min_weights = 300;  // b holds 192, c 128
  const std::vector<Layer> layers = select_layers(model, options.select);
  const auto calibrate = [&](ProductObserver& observer) {
    Executor(model, {.observer = &observer}).run({{"x", x}});
  };
  const Statistics statistics = collect_statistics(model, layers, calibrate, {}).statistics;
  ThreadPool pool(2);
  PrunePlan plan = plan_at_once(model, layers, options, pool, &statistics);
  const Refitted alone = refit(model, plan, statistics, pool);
  Refitted in_order = alone;
  prune_in_order(model, nullptr, plan, in_order, pass_over(x), {}, pool);
  CHECK(distance(model, in_order.model, x) < 0.9 * distance(model, alone.model, x));
  std::set<std::string> refitted;
  for (const LayerPlan& layer : plan.layers) {
    const std::span<const float> before = weight_of(model, layer.layer).dense().data<float>();
    const std::span<const float> after =
        weight_of(in_order.model, layer.layer).dense().data<float>();
    const bool changed = !std::ranges::equal(before, after);
    CHECK(changed == (layer.layer.weight != "c"));
    if (layer.layer.left_out.ends_with("; refitted")) refitted.insert(layer.layer.weight);
  }
  CHECK(refitted == std::set<std::string>{"b"});
}

}  // namespace espalier
