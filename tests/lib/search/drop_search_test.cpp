#include "lib/search/drop_search.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "lib/prune/pack/pack_weights.h"
#include "lib/search/pruner.h"
#include "tests/lib/prune/prune_models.h"

namespace espalier {
namespace {

double zeros_of(const Model& packed) {
  double kept = 0, all = 0;
  for (const auto& [value, weight] : packed.graph.weights) {
    all += static_cast<double>(element_count(weight.shape()));
    kept += weight.is_sparse() ? static_cast<double>(weight.sparse().values.count())
                               : static_cast<double>(element_count(weight.shape()));
  }
  return 1 - kept / all;
}

// One product of 128 x 64, l2, a metric that is `loss` of the share of zeros below 1.
struct Case {
  Model model;
  PruneOptions options;
  ThreadPool pool{1};
  Meter meter;

  explicit Case(const std::function<double(double zeros)>& loss) {
    test::ModelBuilder b;
    const ValueId x = b.input("x");
    b.model.graph.outputs = {b.matmul("fc", x, test::random_tensor({64, 128}, 1))};
    model = b.model;
    options.method = "l2";
    options.block = {8, 1};
    options.target = PruneTarget{PruneTarget::Kind::kDrop, 0.01, true};
    meter.dense = [] { return MetricPair{"top1", 1, 1}; };
    meter.metric = [loss](const Model& packed) { return 1 - loss(zeros_of(packed)); };
  }

  Reached search(const ValueTypes* types = nullptr) {
    const PruneData data{select_layers(model, options.select), nullptr, nullptr, {}};
    const Pruner pruner(model, options, data, pool);
    return reach_drop([&](double sparsity) { return pruner.at(sparsity); }, options, meter, types,
                      pool);
  }
};

TEST_CASE("a drop is searched beyond the first sparsity that misses it") {
  // Kept up to 45 %, missed, and kept again from 68 to 82 %.
  Case c(
      [](double zeros) { return zeros <= 0.45 || (zeros > 0.68 && zeros < 0.82) ? 0.001 : 0.1; });
  const Reached reached = c.search();
  CHECK(reached.sparsity > 0.81);
  CHECK(reached.sparsity < 0.82);
  CHECK(1 - *reached.best.metric <= 0.01);
}

TEST_CASE("trials tell what other drops would have given, each by one that keeps it") {
  Case c([](double zeros) { return 0.06 * zeros * zeros; });
  const Reached reached = c.search();
  CHECK(reached.sparsity == doctest::Approx(std::sqrt(1.0 / 6)).epsilon(0.02));
  REQUIRE(reached.at_drops.size() == 4);
  double before = 0;
  for (const auto& [share, point] : reached.at_drops) {
    CHECK(1 - *point.metric <= share);
    CHECK(point.sparsity >= before);
    before = point.sparsity;
  }
  CHECK(reached.at_drops[1].second.sparsity == reached.sparsity);
  CHECK(reached.at_drops[0].second.sparsity > 0);
  CHECK(reached.at_drops[3].second.sparsity >= 0.8);
}

TEST_CASE("confident: the upper end of the interval is what may be lost") {
  Case c([](double zeros) { return 0.02 * zeros; });
  c.meter.judged = [&](const Model& packed) {
    MetricPair pair{"top1", 1, c.meter.metric(packed)};
    pair.drop_low = pair.drop_high = 1 - pair.b;
    *pair.drop_high += 0.005;
    return pair;
  };
  CHECK(c.search().sparsity == doctest::Approx(0.5).epsilon(0.02));
  c.options.confident = true;
  const Reached reached = c.search();
  CHECK(reached.sparsity == doctest::Approx(0.25).epsilon(0.03));
  CHECK(*reached.best.drop_high <= 0.01);
  c.meter.judged = {};
  CHECK_THROWS_WITH_AS(c.search(), doctest::Contains("--confident"), Error);
}

TEST_CASE("of types and sparsities the smallest weights that keep the drop win") {
  // i8 values cost 0.5 %, f16 none.
  Case c([](double zeros) { return 0.016 * zeros; });
  c.options.values = "auto";
  const auto plain = c.meter.metric;
  double price = 0.005;
  c.meter.metric = [&](const Model& packed) {
    const Weight& weight = packed.graph.weights.begin()->second;
    const bool i8 = weight.is_sparse() && weight.sparse().values.dtype() == DType::kI8;
    return plain(packed) - (i8 ? price : 0);
  };
  CalibrationFeeds feeds;
  feeds.data.arrays["x"] = test::random_tensor({8, 64}, 7);
  c.model.graph.values[c.model.graph.inputs[0]].dtype = DType::kF32;
  c.model.graph.values[c.model.graph.inputs[0]].shape = Shape{-1, 64};
  c.model.origin.opset = 17;
  feeds.feeds = make_feeds(c.model, feeds.data);
  PruneData data{select_layers(c.model, c.options.select), nullptr, nullptr, {}};
  data.others = &feeds;
  const ValueTypes types(c.model, c.options, data, c.pool);
  Reached reached = c.search(&types);
  CHECK(reached.best.values == "1 i8");  // 11/16 of 8 bytes a block, not 3/8 of 16
  CHECK(reached.sparsity == doctest::Approx(5.0 / 16).epsilon(0.03));
  price = 0.0099;  // i8 at next to no zeros, f16 at 5/8 of them
  reached = c.search(&types);
  CHECK(reached.best.values == "1 f16");
  CHECK(reached.sparsity == doctest::Approx(5.0 / 8).epsilon(0.02));
  price = 1;  // not even unpruned
  CHECK(c.search(&types).best.values == "1 f16");
}

}  // namespace
}  // namespace espalier
