// Pruning a 64 MB f32 weight, stage by stage: [4096, 4096] stored both ways, l2, on all processors; and one layer by
// methods that need statistics, of inputs each of which correlates with its neighbours.

#include <benchmark/benchmark.h>

#include <cmath>
#include <random>

#include "lib/prune/choose/make_plan.h"
#include "lib/prune/pack/block_pattern.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/prune/refit/apply_plan.h"

namespace espalier {
namespace {

constexpr int64_t kSide = 4096;

// MatMul stores [inputs, outputs], Gemm with transB [outputs, inputs].
Model one_weight(bool transposed, int64_t outputs = kSide, int64_t inputs = kSide) {
  Tensor weight = transposed ? Tensor::zeros(DType::kF32, {inputs, outputs})
                             : Tensor::zeros(DType::kF32, {outputs, inputs});
  std::minstd_rand engine(1);
  for (float& value : weight.mutable_data<float>())
    value = static_cast<float>(engine()) * 0x1p-30F - 1;
  Model model;
  const ValueId x = add_value(model.graph, "x"), w = add_value(model.graph, "w");
  const ValueId y = add_value(model.graph, "y");
  model.graph.weights[w] = {std::move(weight), {}};
  model.graph.inputs = {x};
  model.graph.outputs = {y};
  Node node{transposed ? "MatMul" : "Gemm", "", "fc", {x, w}, {y}, {}, {}};
  if (!transposed) set_attribute(node, "transB", int64_t{1});
  model.graph.nodes.push_back(std::move(node));
  return model;
}

const Model& model_for(const benchmark::State& state) {
  static const Model plain = one_weight(false), transposed = one_weight(true);
  return state.range(0) != 0 ? transposed : plain;
}

PruneOptions options_for(const benchmark::State& state) {
  PruneOptions options;
  options.block = {static_cast<uint32_t>(state.range(1)), static_cast<uint32_t>(state.range(2))};
  options.sparsity = static_cast<double>(state.range(3)) / 100;
  return options;
}

void score_and_choose(benchmark::State& state) {
  ThreadPool pool(0);
  for (auto _ : state)
    benchmark::DoNotOptimize(make_plan(model_for(state), options_for(state), pool));
}

void apply(benchmark::State& state) {
  ThreadPool pool(0);
  const PrunePlan plan = make_plan(model_for(state), options_for(state), pool);
  for (auto _ : state) benchmark::DoNotOptimize(apply_plan(model_for(state), plan, pool));
}

void pack(benchmark::State& state) {
  ThreadPool pool(0);
  const PrunePlan plan = make_plan(model_for(state), options_for(state), pool);
  for (auto _ : state) benchmark::DoNotOptimize(pack_weights(model_for(state), plan, pool));
}

void whole(benchmark::State& state) {
  ThreadPool pool(0);
  for (auto _ : state) {
    const PrunePlan plan = make_plan(model_for(state), options_for(state), pool);
    benchmark::DoNotOptimize(pack_weights(apply_plan(model_for(state), plan, pool), plan, pool));
  }
}

void find_pattern(benchmark::State& state) {
  ThreadPool pool(0);
  const PrunePlan plan = make_plan(model_for(state), options_for(state), pool);
  const Model masked = apply_plan(model_for(state), plan, pool);
  const Layer& layer = plan.layers[0].layer;
  for (auto _ : state)
    benchmark::DoNotOptimize(block_pattern(weight_of(masked, layer), layer.fold, false));
}

// Inputs of different sizes, 0.9 of each told by the one before.
Statistics neighbours(const Model& model, const Layer& layer) {
  const auto side = static_cast<int64_t>(layer.fold.cols);
  InputMoments moments{0, layer.fold.parts, 1 << 14, Tensor::zeros(DType::kF64, {side, side}),
                       Tensor::zeros(DType::kF64, {side})};
  const auto second = moments.second.mutable_data<double>();
  for (int64_t i = 0; i < side; ++i) {
    for (int64_t j = 0; j < side; ++j)
      second[static_cast<size_t>(i * side + j)] =
          std::pow(0.9, std::abs(static_cast<double>(i - j))) * (1 + i % 5) * (1 + j % 5);
  }
  return {{{layer.weight, fingerprint_of(weight_of(model, layer)), {std::move(moments)}}}};
}

void score_layer(benchmark::State& state, const char* method) {
  ThreadPool pool(0);
  PruneOptions options;
  options.method = method;
  const Model model = one_weight(false, state.range(0), state.range(1));
  const Statistics statistics = neighbours(model, select_layers(model, options.select).at(0));
  for (auto _ : state) benchmark::DoNotOptimize(make_plan(model, options, pool, &statistics));
}

void layers(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"outputs", "inputs"})->Unit(benchmark::kMillisecond)->UseRealTime();
  for (const auto& [outputs, inputs] :
       {std::pair(512, 512), std::pair(1024, 1024), std::pair(2048, 2048), std::pair(768, 3072)})
    benchmark->Args({outputs, inputs});
}

void cases(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"transposed", "rows", "cols", "percent"})
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
  for (const int64_t transposed : {0, 1}) {
    for (const auto& [rows, cols] : {std::pair(16, 1), std::pair(8, 4), std::pair(1, 1)}) {
      for (const int64_t percent : {50, 90}) benchmark->Args({transposed, rows, cols, percent});
    }
  }
}

BENCHMARK(score_and_choose)->Apply(cases);
BENCHMARK(apply)->Apply(cases);
BENCHMARK(pack)->Apply(cases);
BENCHMARK(whole)->Apply(cases);
BENCHMARK(find_pattern)->Apply(cases);
BENCHMARK_CAPTURE(score_layer, obs, "obs")->Apply(layers);
BENCHMARK_CAPTURE(score_layer, admm, "admm")->Apply(layers);
BENCHMARK_CAPTURE(score_layer, sparsegpt, "sparsegpt")->Apply(layers);

}  // namespace
}  // namespace espalier

BENCHMARK_MAIN();
