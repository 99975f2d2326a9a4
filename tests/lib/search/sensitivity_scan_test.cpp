#include "lib/search/sensitivity_scan.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "lib/base/log.h"
#include "tests/lib/prune/prune_models.h"

namespace espalier {
namespace {

constexpr int64_t kWidth = 12;

// x [N, 12] -> as many MatMul [12, 12], each near the unit matrix so that none drowns the input.
Model chain(uint32_t layers) {
  test::ModelBuilder b;
  ValueId x = b.input("x");
  b.model.graph.values[x].dtype = DType::kF32;
  b.model.graph.values[x].shape = Shape{-1, kWidth};
  for (uint32_t i = 0; i < layers; ++i) {
    std::vector<float> w = to_f32(test::random_tensor({kWidth, kWidth}, i));
    for (float& value : w) value *= 0.02F;
    for (size_t j = 0; j < kWidth; ++j) w[j * (kWidth + 1)] += 1;
    x = b.matmul("m" + std::to_string(i), x, Tensor::of<float>({kWidth, kWidth}, w));
  }
  b.model.graph.outputs = {x};
  b.model.origin.opset = 17;
  return b.model;
}

struct Scanned {
  ScoredPlan before, after;
};

Scanned scan(const Model& model) {
  PruneOptions options;
  options.method = "obs";
  options.scope = "sensitivity";
  options.block = {4, 1};
  options.select.min_weights = 0;
  CalibrationFeeds calib;
  calib.data.arrays["x"] = test::random_tensor({40, kWidth}, 7);
  calib.data.batch = 10;
  calib.feeds = make_feeds(model, calib.data);
  PruneData data{select_layers(model, options.select), nullptr, &calib, {}};
  const Statistics statistics =
      calibrate(model, data.layers, calib.data, calib.feeds, data.collect);
  data.statistics = &statistics;
  ThreadPool pool(2);
  Scanned result{score_plan(model, data.layers, options, pool, &statistics), {}};
  result.after = result.before;
  scan_sensitivity(model, data, result.after, pool);
  return result;
}

std::vector<size_t> order_of(const std::vector<float>& scores) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return scores[i]; });
  return order;
}

}  // namespace

TEST_CASE("a scan keeps the order within layers, one by one and in groups") {
  for (const uint32_t layers : {3U, 70U}) {  // 70: 35 groups of two
    CAPTURE(layers);
    const Scanned scanned = scan(chain(layers));
    CHECK(scanned.after.distances);
    for (size_t i = 0; i < layers; ++i) {
      const std::vector<float>& before = scanned.before.scores[i].scores;
      const std::vector<float>& after = scanned.after.scores[i].scores;
      CHECK(order_of(after) == order_of(before));
      CHECK(after != before);
    }
  }
}

TEST_CASE("layers of a group compare by their own scores") {
  const Scanned scanned = scan(chain(70));
  for (size_t i = 0; i < 70; i += 2) {
    std::vector<float> before = scanned.before.scores[i].scores;
    std::vector<float> after = scanned.after.scores[i].scores;
    const std::vector<float>& next_before = scanned.before.scores[i + 1].scores;
    const std::vector<float>& next_after = scanned.after.scores[i + 1].scores;
    before.insert(before.end(), next_before.begin(), next_before.end());
    after.insert(after.end(), next_after.begin(), next_after.end());
    CHECK(order_of(after) == order_of(before));
  }
}

}  // namespace espalier
