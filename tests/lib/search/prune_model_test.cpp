#include "lib/search/prune_model.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "lib/base/log.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/search/sensitivity_scan.h"
#include "tests/lib/prune/prune_models.h"

namespace espalier {
namespace {

// x [N, 40] -> MatMul [40, 64] -> MatMul [64, 32]
Model two_products() {
  test::ModelBuilder b;
  const ValueId x = b.input("x");
  b.model.graph.values[x].dtype = DType::kF32;
  b.model.graph.values[x].shape = Shape{-1, 40};
  const ValueId h = b.matmul("first", x, test::random_tensor({40, 64}, 1));
  b.model.graph.outputs = {b.matmul("second", h, test::random_tensor({64, 32}, 2))};
  b.model.origin.opset = 17;
  return b.model;
}

PruneRequest request_of(const std::string& method) {
  PruneRequest request;
  request.options.method = method;
  request.options.block = {8, 1};
  request.options.select.min_weights = 0;
  return request;
}

uint64_t packed_size(const Model& model) {
  uint64_t bytes = 0;
  for (const auto& [value, weight] : model.graph.weights)
    bytes += weight.is_sparse() ? packed_bytes(weight.sparse()) : weight.dense().bytes().size();
  return bytes;
}

PruneResult pruned(const Model& model, const PruneRequest& request, const Meter& meter) {
  ThreadPool pool(1);
  const PruneData data{select_layers(model, request.options.select), nullptr, nullptr, {}};
  return prune_model(model, request, data, meter, pool);
}

double zeros_of(const Model& model) {
  double zeros = 0, all = 0;
  for (const auto& [value, weight] : model.graph.weights) {
    const std::vector<float> values = to_f32(weight.dense());
    zeros += static_cast<double>(std::ranges::count(values, 0.0F));
    all += static_cast<double>(values.size());
  }
  return zeros / all;
}

TEST_CASE("a model is pruned to the sparsity asked for, without a meter") {
  const Model model = two_products();
  PruneRequest request = request_of("l2");
  request.options.sparsity = 0.75;
  CHECK_FALSE(needs_meter(request));
  const PruneResult result = pruned(model, request, {});
  CHECK(zeros_of(result.weights.masked) == doctest::Approx(0.75));
  CHECK_FALSE(result.reached);
}

TEST_CASE("a target of bytes gets the least sparsity whose size is no larger") {
  const Model model = two_products();
  PruneRequest request = request_of("l2");
  request.options.target = PruneTarget{PruneTarget::Kind::kSize, 9000};
  Meter meter;
  meter.bytes = packed_size;
  CHECK(needs_meter(request));
  const PruneResult result = pruned(model, request, meter);
  REQUIRE(result.reached);
  CHECK(result.options.sparsity == result.reached->sparsity);
  CHECK(*result.reached->bytes <= 9000);
  ThreadPool pool(1);
  CHECK(packed_size(pack_weights(result.weights.masked, result.weights.plan, pool)) ==
        *result.reached->bytes);
  // A step less would have been too large.
  for (const CurvePoint& trial : result.curve) {
    if (trial.sparsity < result.reached->sparsity) CHECK(*trial.bytes > 9000);
  }
  CHECK(std::ranges::any_of(result.curve, [&](const CurvePoint& trial) {
    return trial.sparsity < result.reached->sparsity &&
           trial.sparsity >= result.reached->sparsity - 1.0 / 128;
  }));
}

TEST_CASE("a target that 98 % sparsity misses is an error that shows what it gives") {
  PruneRequest request = request_of("l2");
  request.options.target = PruneTarget{PruneTarget::Kind::kSize, 10};
  Meter meter;
  meter.bytes = packed_size;
  CHECK_THROWS_WITH_AS(pruned(two_products(), request, meter),
                       doctest::Contains("98 % sparsity gives"), Error);
}

TEST_CASE("a drop gets the largest sparsity whose metric lost no more; NaN never counts") {
  PruneRequest request = request_of("l2");
  request.options.target = PruneTarget{PruneTarget::Kind::kDrop, 0.1, false};
  Meter meter;
  meter.dense = [] { return MetricPair{"top1", 0.9, 0.9}; };
  // Falls with the sparsity; beyond 90 % there is no number.
  meter.metric = [](const Model& packed) {
    const double zeros = 1 - static_cast<double>(packed_size(packed)) / (4.0 * 64 * 72);
    return zeros > 0.9 ? std::nan("") : 0.9 - 0.2 * zeros;
  };
  const PruneResult result = pruned(two_products(), request, meter);
  REQUIRE(result.reached);
  CHECK(*result.reached->metric >= 0.8);
  CHECK(result.reached->sparsity > 0.3);
  REQUIRE(result.dense);
  CHECK(result.dense->a == 0.9);
}

TEST_CASE("a caller gets progress, and can end the work from there") {
  struct Stop {};
  PruneRequest request = request_of("l2");
  request.options.target = PruneTarget{PruneTarget::Kind::kSize, 9000};
  Meter meter;
  meter.bytes = packed_size;
  size_t steps = 0;
  const LogSink sink{
      .warn = {}, .note = {}, .progress = [&](std::string_view what, size_t done, size_t) {
        if (what != "search") return;
        steps = done;
        if (done == 3) throw Stop();
      }};
  const ScopedLogSink scoped(sink);
  CHECK_THROWS_AS(pruned(two_products(), request, meter), Stop);
  CHECK(steps == 3);
}

TEST_CASE("a layer handed on twice is the same as one selected anew") {
  const Model model = two_products();
  PruneRequest request = request_of("l2");
  request.options.schedule = Schedule{0.2, 3};
  const PruneResult once = pruned(model, request, {});
  const PruneResult again = pruned(model, request, {});
  CHECK(zeros_of(once.weights.masked) == doctest::Approx(0.5));
  for (const auto& [value, weight] : once.weights.masked.graph.weights)
    CHECK(same_bits(weight.dense(), again.weights.masked.graph.weights.at(value).dense()));
}

// Samples of 40 inputs that 6 factors explain but for a tenth.
Tensor correlated(int64_t samples, uint32_t seed) {
  const std::vector<float> factors = to_f32(test::random_tensor({samples, 6}, seed));
  const std::vector<float> mix = to_f32(test::random_tensor({6, 40}, 99));
  std::vector<float> x = to_f32(test::random_tensor({samples, 40}, seed + 1));
  for (size_t s = 0; s < static_cast<size_t>(samples); ++s) {
    for (size_t i = 0; i < 40; ++i) {
      x[s * 40 + i] *= 0.1F;
      for (size_t f = 0; f < 6; ++f) x[s * 40 + i] += factors[s * 6 + f] * mix[f * 40 + i];
    }
  }
  return Tensor::of<float>({samples, 40}, x);
}

// Calibrated by obs to 90 %; `apart`: where feeds decide on the order.
PruneResult calibrated(const Model& model, bool sequential, bool apart) {
  PruneRequest request = request_of("obs");
  request.options.sparsity = 0.9;
  request.options.sequential = sequential;
  CalibrationFeeds calib;
  calib.data.arrays["x"] = correlated(300, 7);
  calib.data.batch = 10;
  calib.feeds = make_feeds(model, calib.data);
  DataSet others = calib.data;
  others.arrays["x"] = correlated(100, 17);
  const std::vector<Feed> judges = make_feeds(model, others);
  PruneData data{select_layers(model, request.options.select), nullptr, &calib, {}};
  if (apart) data.orders.apart = judges;
  const Statistics statistics =
      calibrate(model, data.layers, calib.data, calib.feeds, data.collect);
  data.statistics = &statistics;
  ThreadPool pool(2);
  return prune_model(model, request, data, {}, pool);
}

void check_same(const Model& a, const Model& b) {
  for (const auto& [value, weight] : a.graph.weights)
    CHECK(same_bits(weight.dense(), b.graph.weights.at(value).dense()));
}

TEST_CASE("feeds that are held apart decide whether layers are pruned in order") {
  const Model model = two_products();
  const PruneResult judged = calibrated(model, false, true);
  REQUIRE(judged.weights.order);
  CHECK(judged.weights.order->feeds == 10);
  CHECK(judged.weights.order->in_order);
  check_same(judged.weights.masked, calibrated(model, true, false).weights.masked);
}

TEST_CASE("of few feeds the one that decides on the order is calibrated with in the end") {
  const Model model = two_products();
  PruneRequest request = request_of("obs");
  request.options.sparsity = 0.9;
  CalibrationFeeds calib;
  calib.data.arrays["x"] = correlated(300, 7);
  calib.data.batch = 60;
  calib.feeds = make_feeds(model, calib.data);
  const std::vector<Feed> last{calib.feeds.back()};
  PruneData data{select_layers(model, request.options.select), nullptr, &calib, {}};
  const Statistics statistics =
      calibrate(model, data.layers, calib.data, calib.feeds, data.collect);
  const Statistics others = calibrate(model, data.layers, calib.data,
                                      {calib.feeds.begin(), calib.feeds.end() - 1}, data.collect);
  data.orders = {last, &others, true};
  data.statistics = &statistics;
  ThreadPool pool(2);
  const PruneResult judged = prune_model(model, request, data, {}, pool);
  REQUIRE(judged.weights.order);
  CHECK(judged.weights.order->feeds == 1);
  REQUIRE(judged.weights.order->in_order);
  data.orders = {};
  request.options.sequential = true;
  check_same(judged.weights.masked, prune_model(model, request, data, {}, pool).weights.masked);
}

TEST_CASE("of many feeds those that decide on the order refit what won, with its blocks") {
  const Model model = two_products();
  PruneRequest request = request_of("obs");
  request.options.sparsity = 0.9;
  CalibrationFeeds calib;
  calib.data.arrays["x"] = correlated(300, 7);
  calib.data.batch = 10;
  calib.feeds = make_feeds(model, calib.data);
  const std::vector<Feed> last{calib.feeds.end() - 10, calib.feeds.end()};
  CalibrationFeeds fewer = calib;
  fewer.feeds.resize(20);
  PruneData data{select_layers(model, request.options.select), nullptr, &calib, {}};
  const Statistics all = calibrate(model, data.layers, calib.data, calib.feeds, data.collect);
  const Statistics others = calibrate(model, data.layers, calib.data, fewer.feeds, data.collect);
  ThreadPool pool(2);
  data.statistics = &all;
  data.orders = {last, &others, false};
  const PruneResult judged = prune_model(model, request, data, {}, pool);
  REQUIRE(judged.weights.order);
  REQUIRE(judged.weights.order->in_order);
  const auto change = [&](const PruneResult& result) {
    return output_distance(raw_outputs(model, calib.data, last, 2),
                           raw_outputs(result.weights.masked, calib.data, last, 2));
  };
  CHECK(std::sqrt(change(judged)) < judged.weights.order->in_turn);
  data.orders = {};
  data.calib = &fewer;
  data.statistics = &others;
  request.options.sequential = true;
  const PruneResult by_fewer = prune_model(model, request, data, {}, pool);
  CHECK(change(judged) < change(by_fewer));
}

TEST_CASE("where both orders are the same, layers are pruned at once") {
  Model model = two_products();
  model.graph.outputs = {model.graph.nodes[0].outputs[0]};
  model.graph.nodes.pop_back();
  const PruneResult judged = calibrated(model, false, true);
  REQUIRE(judged.weights.order);
  CHECK_FALSE(judged.weights.order->in_order);
  const PruneResult at_once = calibrated(model, false, false);
  CHECK_FALSE(at_once.weights.order);
  check_same(judged.weights.masked, at_once.weights.masked);
}

}  // namespace
}  // namespace espalier
