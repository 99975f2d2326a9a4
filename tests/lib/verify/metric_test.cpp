#include <doctest/doctest.h>

#include <cmath>

#include "lib/verify/drop_interval.h"
#include "lib/verify/metric.h"
#include "tests/lib/verify/small_model.h"

namespace espalier {
namespace {

std::vector<Feed> rows(std::vector<float> values, int64_t columns) {
  const auto count = static_cast<int64_t>(values.size()) / columns;
  return {{{"y", Tensor::of<float>({count, columns}, values)}}};
}

Tensor labels(std::vector<int64_t> values) {
  const auto count = static_cast<int64_t>(values.size());
  return Tensor::of<int64_t>({count}, values);
}

TEST_CASE("top1 takes the lowest of equal classes and leaves out label -1") {
  const auto outputs = rows({1, 3, 2, /**/ 5, 5, 0, /**/ 0, 0, 1}, 3);
  CHECK(metric("top1", outputs, "y", labels({1, 0, 2})) == 1.0);
  CHECK(metric("top1", outputs, "y", labels({1, 1, 2})) == doctest::Approx(2.0 / 3));
  CHECK(metric("top1", outputs, "y", labels({1, 1, -1})) == 0.5);
}

TEST_CASE("top5 counts a label among the five largest, NaN last") {
  const auto outputs = rows({6, 5, 4, 3, 2, 1}, 6);
  CHECK(metric("top5", outputs, "y", labels({4})) == 1.0);
  CHECK(metric("top5", outputs, "y", labels({5})) == 0.0);
  CHECK(metric("top5", rows({NAN, 1}, 2), "y", labels({0})) == 0.0);
}

TEST_CASE("auc is the share of ordered pairs, ties count half") {
  const auto outputs = rows({0.1F, 0.4F, 0.35F, 0.8F}, 4);
  CHECK(metric("auc", outputs, "y", labels({0, 0, 1, 1})) == 0.75);
  CHECK(metric("auc", rows({1, 1}, 2), "y", labels({0, 1})) == 0.5);
  CHECK(metric("auc", rows({1, 2, 9}, 3), "y", labels({0, 1, -1})) == 1.0);
  CHECK_THROWS_AS(metric("auc", outputs, "y", labels({1, 1, 1, 1})), Error);
}

TEST_CASE("a drop is what the metric got worse by, tolerated up to 1 % or 0.3 dB") {
  CHECK(metric_drop("top1", 0.75, 0.5) == 0.25);
  CHECK(metric_drop("snr", 17, 18) == -1);
  CHECK(metric_drop("mse", 1, 3) == 2);
  CHECK(metric_drop("snr", INFINITY, INFINITY) == 0);
  CHECK(std::isnan(metric_drop("auc", 0.5, NAN)));
  CHECK(metric_drop("a number of one's own", 3, 2) == 1);
  CHECK(tolerated_drop("auc", 0.9) == doctest::Approx(0.009));
  CHECK(tolerated_drop("a number of one's own", -20) == doctest::Approx(0.2));
  CHECK(tolerated_drop("snr", 17.2) == 0.3);
  CHECK(10 * std::log10(1 + tolerated_drop("mse", 2) / 2) == doctest::Approx(0.3));
  CHECK(tolerated_text("mse") == "0.3 dB");
  CHECK(tolerated_text("top5") == "1 %");
}

TEST_CASE("cosine, snr and mse against reference values") {
  const Tensor reference = Tensor::of<float>({2, 2}, std::vector<float>{1, 0, 0, 2});
  CHECK(metric("cosine", rows({2, 0, 2, 0}, 2), "y", reference) == 0.5);  // 1 and 0
  CHECK(metric("mse", rows({1, 0, 0, 0}, 2), "y", reference) == 1.0);
  CHECK(metric("snr", rows({1, 0, 0, 1}, 2), "y", reference) ==
        doctest::Approx(10 * std::log10(5.0)));
}

TEST_CASE("a metric of resampled data counts each sample as often as it was drawn") {
  const auto outputs = rows({1, 3, 2, /**/ 5, 5, 0, /**/ 0, 0, 1}, 3);
  const SampleScorer top1 = sample_scorer("top1", outputs, "y", labels({1, 1, 2}));
  CHECK(top1(std::vector<uint32_t>{1, 1, 1}) == doctest::Approx(2.0 / 3));
  CHECK(top1(std::vector<uint32_t>{0, 3, 0}) == 0);
  CHECK(top1(std::vector<uint32_t>{2, 1, 0}) == doctest::Approx(2.0 / 3));
  // auc of a set is that of the set written out.
  const SampleScorer auc = sample_scorer("auc", rows({1, 2, 2, 4}, 1), "y", labels({0, 1, 0, 1}));
  CHECK(auc(std::vector<uint32_t>{2, 1, 0, 1}) ==
        metric("auc", rows({1, 1, 2, 4}, 1), "y", labels({0, 0, 1, 1})));
  CHECK(auc(std::vector<uint32_t>{0, 3, 2, 0}) ==
        metric("auc", rows({2, 2, 2, 2, 2}, 1), "y", labels({1, 1, 1, 0, 0})));
  CHECK(std::isnan(auc(std::vector<uint32_t>{4, 0, 0, 0})));  // no positive
}

TEST_CASE("the interval of a drop holds what resampling gives") {
  // 100 samples, of which a hits all and b hits 90: drops are binomial, 95 % of them within 0.05 to
  // 0.16.
  std::vector<float> right, sometimes;
  std::vector<int64_t> truth;
  for (int i = 0; i < 100; ++i) {
    right.insert(right.end(), {0, 1});
    sometimes.insert(sometimes.end(), {i % 10 == 0 ? 2.0F : 0.0F, 1});
    truth.push_back(1);
  }
  const auto a = rows(right, 2), b = rows(sometimes, 2);
  const MetricPair pair = metric_with_interval({"top1", labels(truth)}, {a, b, "y"});
  CHECK(pair.a == 1.0);
  CHECK(pair.b == doctest::Approx(0.9));
  REQUIRE((pair.drop_low && pair.drop_high));
  CHECK(*pair.drop_low == doctest::Approx(0.05).epsilon(0.4));
  CHECK(*pair.drop_high == doctest::Approx(0.16).epsilon(0.2));
  const MetricPair same = metric_with_interval({"top1", labels(truth)}, {a, a, "y"});
  CHECK(*same.drop_low == 0);  // paired: what is equal has no spread
  CHECK(*same.drop_high == 0);
  const auto one = rows({0, 1}, 2);
  CHECK_FALSE(metric_with_interval({"top1", labels({1})}, {one, one, "y"}).drop_low);
}

TEST_CASE("labels that do not fit are refused with their sizes") {
  CHECK_THROWS_WITH_AS(metric("top1", rows({1, 2}, 2), "y", labels({0, 1})),
                       "labels: 2 are given for 1 rows of 2 classes", Error);
  CHECK_THROWS_WITH_AS(metric("top1", rows({1, 2}, 2), "y", labels({2})),
                       "labels: label 0 is 2, expected 0 to 1 (-1: ignored)", Error);
  CHECK_THROWS_AS(metric("top9", rows({1, 2}, 2), "y", labels({0})), Error);
}

}  // namespace
}  // namespace espalier
