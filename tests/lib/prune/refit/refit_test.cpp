#include "lib/prune/refit/refit.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "lib/prune/choose/default_method.h"
#include "lib/prune/choose/make_plan.h"
#include "lib/prune/pack/block_pattern.h"
#include "lib/prune/refit/apply_plan.h"
#include "lib/prune/select/layer_bias.h"
#include "tests/lib/prune/prune_models.h"
#include "tests/lib/prune/some_statistics.h"

namespace espalier {
namespace {

using namespace espalier::test;

// y = Gemm(x, w, b) with w [outputs, inputs].
Model gemm_model(const Tensor& w, const Tensor& b) {
  ModelBuilder m;
  const ValueId x = m.input("x");
  m.model.graph.outputs = {
      m.node("Gemm", "g", {x, m.weight("w", w), m.weight("b", b)}, {{"transB", int64_t{1}, {}}})};
  return m.model;
}

Tensor weight_named(const Model& model, const std::string& name) {
  for (const auto& [value, weight] : model.graph.weights) {
    if (model.graph.values[value].name == name) return weight.dense();
  }
  return {};
}

// Mean over samples of the squared error of the outputs.
double output_error(const Model& a, const Model& b, const std::vector<double>& x, size_t inputs) {
  const std::vector<float> wa = to_f32(weight_named(a, "w")), wb = to_f32(weight_named(b, "w"));
  const std::vector<float> ba = to_f32(weight_named(a, "b")), bb = to_f32(weight_named(b, "b"));
  double sum = 0;
  for (size_t s = 0; s < x.size() / inputs; ++s) {
    for (size_t r = 0; r < ba.size(); ++r) {
      double gap = static_cast<double>(ba[r]) - bb[r];
      for (size_t c = 0; c < inputs; ++c)
        gap += (static_cast<double>(wa[r * inputs + c]) - wb[r * inputs + c]) * x[s * inputs + c];
      sum += gap * gap;
    }
  }
  return sum / static_cast<double>(x.size() / inputs);
}

PruneOptions obs_options(double sparsity) {
  PruneOptions options;
  options.method = "obs";
  options.block = {4, 1};
  options.sparsity = sparsity;
  options.select.min_weights = 1;
  return options;
}

}  // namespace

TEST_CASE("refitted weights and bias lower the error of the outputs, and beat the mask's own") {
  const size_t inputs = 24;
  const Model model = gemm_model(random_tensor({16, 24}, 1), random_tensor({16}, 2));
  const auto x = correlated(500, inputs, 3);
  const Layer layer = select_layers(model, obs_options(0.5).select).at(0);
  const Statistics statistics{
      {{layer.weight, fingerprint_of(weight_of(model, layer)), {moments_of(x, inputs, 0, 1)}}}};
  ThreadPool one(1), two(2);
  double l2_error = 0;
  for (const char* method : {"l2", "wanda", "sparsegpt", "admm", "obs"}) {
    PruneOptions options = obs_options(0.5);
    options.method = method;
    const PrunePlan plan = make_plan(model, options, one, &statistics);
    const Refitted refitted = refit(model, plan, statistics, one);
    CHECK(refitted.refitted == std::vector<bool>{true});
    CHECK(refitted.rows_kept == 0);
    const double masked = output_error(model, apply_plan(model, plan, one), x, inputs);
    const double after = output_error(model, refitted.model, x, inputs);
    CHECK(after < 0.8 * masked);
    // The bias was changed too, and the weights outside of the mask are zeros.
    CHECK_FALSE(same_bits(weight_named(refitted.model, "b"), weight_named(model, "b")));
    CHECK(same_bits(weight_named(refitted.model, "b"), refitted.biases[0]->bias));
    CHECK(zero_share(weight_of(refitted.model, layer), layer.fold, false) == doctest::Approx(0.5));
    CHECK(same_bits(weight_named(refit(model, plan, statistics, two).model, "w"),
                    weight_named(refitted.model, "w")));
    if (std::string(method) == "l2") l2_error = after;
    if (std::string(method) == "obs" || std::string(method) == "admm") CHECK(after < l2_error);
  }
}

TEST_CASE("one trace serves every sparsity: masks of higher ones lie inside those of lower ones") {
  const Model model = gemm_model(random_tensor({16, 24}, 1), random_tensor({16}, 2));
  const Statistics statistics = some_statistics(model, select_layers(model, obs_options(0).select));
  ThreadPool pool(2);
  BlockMask last;
  for (const double sparsity : {0.25, 0.5, 0.75, 1.0}) {
    const BlockMask mask =
        make_plan(model, obs_options(sparsity), pool, &statistics).layers[0].mask;
    for (size_t i = 0; i < last.kept.size(); ++i) CHECK((last.kept[i] || !mask.kept[i]));
    last = mask;
  }
  CHECK(last.kept_blocks() == 0);
}

TEST_CASE("dead inputs, no energy at all and few samples give finite weights") {
  const size_t inputs = 12;
  const Model model = gemm_model(random_tensor({8, 12}, 1), random_tensor({8}, 2));
  const Layer layer = select_layers(model, obs_options(0.5).select).at(0);
  std::vector<double> dead = correlated(100, inputs, 3);
  for (size_t s = 0; s < 100; ++s) dead[s * inputs + 4] = dead[s * inputs + 7] = 0;
  std::vector<double> constant(100 * inputs, 0.5);
  ThreadPool pool(1);
  for (const auto& x :
       {dead, constant, std::vector<double>(5 * inputs, 0.0), correlated(2, inputs, 1)}) {
    const Statistics statistics{
        {{layer.weight, fingerprint_of(weight_of(model, layer)), {moments_of(x, inputs, 0, 1)}}}};
    for (const char* method : {"wanda", "sparsegpt", "admm", "obs"}) {
      PruneOptions options = obs_options(0.5);
      options.method = method;
      const PrunePlan plan = make_plan(model, options, pool, &statistics);
      const Refitted refitted = refit(model, plan, statistics, pool);
      for (const char* name : {"w", "b"}) {
        for (const float v : to_f32(weight_named(refitted.model, name))) CHECK(std::isfinite(v));
      }
      // What never varies costs nothing: the bias makes up for it.
      CHECK(output_error(model, refitted.model, x, inputs) <=
            1e-9 + output_error(model, apply_plan(model, plan, pool), x, inputs));
      if (&x[0] == &dead[0]) CHECK_FALSE(plan.layers[0].mask.at(0, 0, 4));
    }
  }
}

TEST_CASE("NaN weights stay, with their block; their rows are not refitted") {
  Tensor w = random_tensor({8, 12}, 1);
  std::vector<float> values = to_f32(w);
  values[3 * 12 + 5] = std::nanf("");
  w = Tensor::of<float>({8, 12}, values);
  const Model model = gemm_model(w, random_tensor({8}, 2));
  const Statistics statistics = some_statistics(model, select_layers(model, obs_options(0).select));
  ThreadPool pool(1);
  const PrunePlan plan = make_plan(model, obs_options(0.75), pool, &statistics);
  const Refitted refitted = refit(model, plan, statistics, pool);
  CHECK(refitted.rows_kept == 1);
  const std::vector<float> after = to_f32(weight_named(refitted.model, "w"));
  for (size_t i = 0; i < after.size(); ++i) CHECK(std::isnan(after[i]) == (i == 3 * 12 + 5));
}

TEST_CASE("where nothing can be factorised the bias alone makes up for the mean") {
  const Model model = gemm_model(random_tensor({8, 12}, 1), random_tensor({8}, 2));
  const Layer layer = select_layers(model, obs_options(0).select).at(0);
  const std::vector<double> x = correlated(200, 12, 3);
  InputMoments moments = moments_of(x, 12, 0, 1);
  for (size_t i = 0; i < 12; ++i) {  // no moments of any samples
    for (size_t j = 0; j < 12; ++j) {
      if (i != j) moments.second.mutable_data<double>()[i * 12 + j] = 1e6;
    }
  }
  const Statistics statistics{{{layer.weight, fingerprint_of(weight_of(model, layer)), {moments}}}};
  PruneOptions options = obs_options(0.5);
  options.method = "l2";
  ThreadPool pool(1);
  const PrunePlan plan = make_plan(model, options, pool, &statistics);
  const Refitted refitted = refit(model, plan, statistics, pool);
  CHECK(refitted.rows_kept == 8);
  const Model masked = apply_plan(model, plan, pool);
  CHECK(same_bits(weight_named(refitted.model, "w"), weight_named(masked, "w")));
  // The mean of the outputs is that of the dense model.
  const std::vector<float> w = to_f32(weight_named(model, "w")),
                           m = to_f32(weight_named(masked, "w"));
  const std::vector<float> before = to_f32(weight_named(model, "b"));
  const std::vector<float> after = to_f32(weight_named(refitted.model, "b"));
  for (size_t r = 0; r < 8; ++r) {
    double expected = before[r];
    for (size_t c = 0; c < 12; ++c)
      expected += (double{w[r * 12 + c]} - m[r * 12 + c]) * moments.mean.data<double>()[c];
    CHECK(after[r] == doctest::Approx(expected).epsilon(1e-5));
  }
}

TEST_CASE("the default method gives way where obs is too much, by a count of operations") {
  CHECK(default_method({1, 1024, 1024}, {16, 1}) == "obs");
  CHECK(default_method({1, 768, 3072}, {16, 1}) == "obs");
  CHECK(default_method({1, 3072, 3072}, {1, 1}) == "admm");
  CHECK(default_method({1, 16384, 16384}, {16, 1}) == "sparsegpt");
  const Model model = gemm_model(random_tensor({8, 12}, 1), random_tensor({8}, 2));
  const Statistics statistics = some_statistics(model, select_layers(model, obs_options(0).select));
  ThreadPool pool(1);
  PruneOptions options = obs_options(0.5);
  options.method_by_cost = true;
  const LayerPlan plan = make_plan(model, options, pool, &statistics).layers[0];
  CHECK(plan.method == "obs");
  CHECK(plan.obs_multiply_adds == 0);
}

TEST_CASE("statistics of another model are refused, missing ones replaced by l2") {
  const Model model = gemm_model(random_tensor({8, 12}, 1), random_tensor({8}, 2));
  const auto layers = select_layers(model, obs_options(0).select);
  Statistics statistics = some_statistics(model, layers);
  ThreadPool pool(1);
  CHECK_THROWS_AS(make_plan(model, obs_options(0.5), pool), Error);
  ++statistics.layers[0].fingerprint;
  CHECK_THROWS_AS(make_plan(model, obs_options(0.5), pool, &statistics), Error);
  const Statistics none;
  const PrunePlan plan = make_plan(model, obs_options(0.5), pool, &none);
  CHECK(plan.layers[0].method == "l2");
  const Refitted refitted = refit(model, plan, none, pool);
  CHECK_FALSE(refitted.refitted[0]);
  CHECK(same_bits(weight_named(refitted.model, "w"),
                  weight_named(apply_plan(model, plan, pool), "w")));
}

TEST_CASE("a bias that others read stays as it is") {
  ModelBuilder m;
  const ValueId x = m.input("x"), b = m.weight("b", random_tensor({8}, 2));
  const ValueId first = m.node("Gemm", "g", {x, m.weight("w", random_tensor({12, 8}, 1)), b});
  m.model.graph.outputs = {m.node("Add", "again", {first, b})};
  const auto layers = select_layers(m.model, obs_options(0).select);
  CHECK_FALSE(layer_biases(m.model, layers).at(0));
  const Model own = gemm_model(random_tensor({8, 12}, 1), random_tensor({8}, 2));
  CHECK(layer_biases(own, select_layers(own, obs_options(0).select)).at(0));
}

TEST_CASE("behind a convolution without a bias the mean of BatchNormalization takes the shift") {
  ModelBuilder m;
  const ValueId x = m.input("x");
  const ValueId conv = m.node("Conv", "c", {x, m.weight("w", random_tensor({8, 12, 1, 1}, 5))});
  std::vector<ValueId> inputs{conv};
  for (const char* name : {"scale", "b", "mean", "var"})
    inputs.push_back(m.weight(name, random_tensor({8}, 6)));
  m.model.graph.outputs = {m.node("BatchNormalization", "n", inputs)};
  const Model& model = m.model;
  const auto layers = select_layers(model, obs_options(0.5).select);
  const auto biases = layer_biases(model, layers);
  const auto place = std::ranges::find(layers, "w", &Layer::weight) - layers.begin();
  REQUIRE(biases[static_cast<size_t>(place)].has_value());
  CHECK(biases[static_cast<size_t>(place)]->scale == -1);

  const std::vector<double> x_samples = correlated(60, 12, 7);
  Statistics statistics;
  statistics.layers.push_back({"w",
                               fingerprint_of(weight_of(model, layers[static_cast<size_t>(place)])),
                               {moments_of(x_samples, 12, 0, 1)}});
  ThreadPool pool(1);
  const PrunePlan plan = make_plan(model, obs_options(0.5), pool, &statistics);
  const Refitted refitted = refit(model, plan, statistics, pool);
  const std::vector<float> before = to_f32(weight_named(model, "w")),
                           after = to_f32(weight_named(refitted.model, "w")),
                           mean = to_f32(weight_named(model, "mean")),
                           moved = to_f32(weight_named(refitted.model, "mean"));
  // The mean output of conv - mean is what it was, for every channel.
  for (size_t r = 0; r < 8; ++r) {
    double shift = 0;
    for (size_t s = 0; s < 60; ++s) {
      for (size_t c = 0; c < 12; ++c)
        shift += (after[r * 12 + c] - before[r * 12 + c]) * x_samples[s * 12 + c] / 60;
    }
    CHECK(std::abs(shift) > 1e-3);
    CHECK(moved[r] - mean[r] == doctest::Approx(shift).epsilon(1e-3));
  }
}

}  // namespace espalier
