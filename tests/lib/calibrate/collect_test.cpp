#include "lib/calibrate/collect.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "lib/runtime/executor.h"

namespace espalier {
namespace {

Tensor random_tensor(Shape shape, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(element_count(shape));
  for (float& value : values) value = normal(engine);
  return Tensor::of<float>(std::move(shape), values);
}

// y = (x a) b, x [n, 6], a [6, 8], b [8, 5]
Model two_products() {
  Model model;
  Graph& graph = model.graph;
  const ValueId x = add_value(graph, "x", DType::kF32, Shape{-1, 6});
  const ValueId a = add_value(graph, "a"), b = add_value(graph, "b");
  const ValueId h = add_value(graph, "h"), y = add_value(graph, "y");
  graph.weights[a] = {random_tensor({6, 8}, 1), {}};
  graph.weights[b] = {random_tensor({8, 5}, 2), {}};
  graph.nodes.push_back({"MatMul", "", "first", {x, a}, {h}, {}, {}});
  graph.nodes.push_back({"MatMul", "", "second", {h, b}, {y}, {}, {}});
  graph.inputs = {x};
  graph.outputs = {y};
  model.origin.opset = 17;
  return model;
}

struct Outcome {
  Collected collected;
  size_t runs = 0;
};

Outcome collect(const Model& model, const Tensor& x, const CollectOptions& options) {
  Outcome outcome;
  const auto pass = [&](ProductObserver& observer) {
    Executor executor(model, {.observer = &observer});
    executor.run({{"x", x}});
    ++outcome.runs;
  };
  SelectOptions all;
  all.min_weights = 1;
  const auto layers = select_layers(model, all);
  outcome.collected = collect_statistics(model, layers, pass, options);
  return outcome;
}

}  // namespace

TEST_CASE("moments are the samples' means, sums of several products and passes alike") {
  const Model model = two_products();
  const Tensor x = random_tensor({300, 6}, 3);  // more than one product's samples
  const Outcome all = collect(model, x, {});
  CHECK(all.runs == 1);
  REQUIRE(all.collected.statistics.layers.size() == 2);
  const InputMoments& first = all.collected.statistics.layers[0].inputs.at(0);
  CHECK(first.samples == 300);
  for (size_t i = 0; i < 6; ++i) {
    double mean = 0;
    for (size_t s = 0; s < 300; ++s) mean += x.data<float>()[s * 6 + i] / 300.0;
    CHECK(first.mean.data<double>()[i] == doctest::Approx(mean).epsilon(1e-6));
    for (size_t j = 0; j < 6; ++j) {
      double second = 0;
      for (size_t s = 0; s < 300; ++s)
        second +=
            static_cast<double>(x.data<float>()[s * 6 + i]) * x.data<float>()[s * 6 + j] / 300;
      CHECK(first.second.data<double>()[i * 6 + j] == doctest::Approx(second).epsilon(1e-5));
    }
  }
  // Room for the larger of the two weights' sums alone: a pass each, and the same numbers.
  const Outcome apart = collect(model, x, {.memory_bytes = 8 * 8 * 12});
  CHECK(apart.runs == 2);
  for (size_t i = 0; i < 2; ++i) {
    CHECK(same_bits(apart.collected.statistics.layers[i].inputs[0].second,
                    all.collected.statistics.layers[i].inputs[0].second));
  }
  const Outcome little = collect(model, x, {.memory_bytes = 6 * 6 * 12});
  CHECK(little.collected.statistics.layers.size() == 1);
  REQUIRE(little.collected.refused.size() == 1);
  CHECK(little.collected.refused[0].starts_with("b: "));
}

TEST_CASE("inputs that never change have no variance, and small ones far from 0 keep theirs") {
  const Model model = two_products();
  std::vector<float> values;
  for (size_t s = 0; s < 600; ++s) {  // several products
    for (const float v : {0.1F, 3.3F, 1000.0F, 1000.0F + (s % 2 == 0 ? 0.5F : -0.5F), 7e4F, 0.0F})
      values.push_back(v);
  }
  const Outcome outcome = collect(model, Tensor::of<float>({600, 6}, values), {});
  const InputMoments& first = outcome.collected.statistics.layers.at(0).inputs.at(0);
  for (size_t i = 0; i < 6; ++i) {
    const double mean = first.mean.data<double>()[i];
    const double variance = first.second.data<double>()[i * 7] - mean * mean;
    // What f64 leaves of the difference.
    CHECK(std::abs(variance - (i == 3 ? 0.25 : 0)) < 1e-14 * mean * mean + 1e-12);
  }
}

TEST_CASE("samples that hold NaN or infinity are left out and counted") {
  const Model model = two_products();
  std::vector<float> values(20 * 6, 0.5F);
  values[7] = std::nanf("");
  values[30] = INFINITY;
  const Outcome outcome = collect(model, Tensor::of<float>({20, 6}, values), {});
  const InputMoments& first = outcome.collected.statistics.layers.at(0).inputs.at(0);
  CHECK(first.samples == 18);
  CHECK(first.mean.data<double>()[0] == doctest::Approx(0.5));
  CHECK(outcome.collected.not_finite == 2);  // the same two of the second product
}

TEST_CASE("a run without an observer and a run with one give the same outputs") {
  const Model model = two_products();
  const Tensor x = random_tensor({9, 6}, 3);
  class Silent final : public ProductObserver {
   public:
    std::optional<size_t> watch(const Weight&) const override { return 0; }
    void see(size_t, size_t, size_t, const float*, Features, size_t, size_t n) override {
      seen += n;
    }
    size_t seen = 0;
  };
  Silent silent;
  Executor plain(model, {}), watched(model, {.observer = &silent});
  CHECK(same_bits(plain.run({{"x", x}}).at("y"), watched.run({{"x", x}}).at("y")));
  CHECK(silent.seen == 18);
}

}  // namespace espalier
