#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <string>
#include <thread>

#include "lib/verify/compare.h"
#include "lib/verify/output_errors.h"
#include "lib/verify/timing.h"
#include "tests/lib/verify/small_model.h"

namespace espalier {
namespace {

Tensor vector_of(std::vector<float> values) {
  const auto count = static_cast<int64_t>(values.size());
  return Tensor::of<float>({count}, values);
}

OutputDifference compare(std::vector<float> a, std::vector<float> b, Tolerance tolerance = {}) {
  return compare_outputs({{{"y", vector_of(std::move(a))}}}, {{{"y", vector_of(std::move(b))}}},
                         tolerance)
      .outputs.front();
}

TEST_CASE("an element may differ by abs + rel * its size") {
  const Tolerance tolerance{.abs = 0.5, .rel = 0.1};
  CHECK(compare({10}, {11.4F}, tolerance).ok);
  CHECK_FALSE(compare({10}, {11.6F}, tolerance).ok);
  CHECK(compare({0}, {0.4F}, tolerance).ok);
}

TEST_CASE("outputs of f16 and bf16 are judged by their own steps, unless a tolerance was named") {
  const auto compare_as = [](DType dtype, float a, float b, Tolerance tolerance = {}) {
    const auto tensor = [&](float value) {
      return from_f32(std::vector<float>{value}, dtype, {1});
    };
    return compare_outputs({{{"y", tensor(a)}}}, {{{"y", tensor(b)}}}, tolerance).outputs.front();
  };
  // Two steps of f16 at 1, and two of bf16.
  CHECK_FALSE(compare_as(DType::kF32, 1, 1 + 2 * 0x1p-10F).ok);
  CHECK(compare_as(DType::kF16, 1, 1 + 2 * 0x1p-10F).ok);
  CHECK(compare_as(DType::kBF16, 1, 1 + 2 * 0x1p-7F).ok);
  CHECK_FALSE(compare_as(DType::kF16, 1, 1 + 2 * 0x1p-7F).ok);
  CHECK_FALSE(compare_as(DType::kF16, 1, 1 + 9 * 0x1p-10F).ok);
  CHECK_FALSE(compare_as(DType::kBF16, 1, 1 + 9 * 0x1p-7F).ok);
  CHECK(compare_as(DType::kF16, 1, 1).tolerance.rel == 0x1p-8);
  CHECK(compare_as(DType::kBF16, 1, 1).tolerance.abs == 0x1p-5);
  CHECK_FALSE(
      compare_as(DType::kF16, 1, 1 + 0x1p-10F, {.abs = 1e-4, .rel = 1e-4, .by_type = false}).ok);
  CHECK(compare_as(DType::kF16, 1, 1.5F, {.abs = 1, .rel = 0}).ok);  // wider than the type's
}

TEST_CASE("differences are measured over the whole output") {
  const OutputDifference d = compare({3, 4}, {3, 2});
  CHECK(d.max_abs == 2);
  CHECK(d.max_rel == 0.5);
  CHECK(d.relative_error == doctest::Approx(0.4));
  CHECK(d.cosine == doctest::Approx(17 / (5 * std::sqrt(13.0))));
  CHECK_FALSE(d.ok);
}

TEST_CASE("NaN equals NaN and infinities equal themselves, nothing else") {
  CHECK(compare({NAN, INFINITY}, {NAN, INFINITY}).ok);
  CHECK_FALSE(compare({NAN}, {1}).ok);
  CHECK_FALSE(compare({1}, {NAN}).ok);
  CHECK_FALSE(compare({INFINITY}, {-INFINITY}).ok);
}

TEST_CASE("another shape or a missing output is out of tolerance and says why") {
  const Comparison shapes =
      compare_outputs({{{"y", counted({2, 1})}}}, {{{"y", counted({1, 2})}}}, {});
  CHECK_FALSE(shapes.ok());
  CHECK(shapes.outputs[0].note == "f32 [2, 1] against f32 [1, 2]");
  CHECK(std::isnan(shapes.max_rel()));
  CHECK_FALSE(compare_outputs({{{"y", counted({1})}}}, {{{"z", counted({1})}}}, {}).ok());
}

TEST_CASE("models with other names are compared by position") {
  const Model a = matmul_model();
  Model b = matmul_model();
  for (Value& value : b.graph.values) value.name += "_0";
  DataSet data;
  data.arrays.emplace("x", counted({4, 3}));
  const Comparison same = compare_models(a, b, data, make_feeds(a, data), {}, {}, {});
  CHECK(same.samples == 4);
  CHECK(same.ok());
  CHECK(same.outputs.front().name == "y");
  const Model other = matmul_model({1, 2, 3, 4, 5, 7});
  CHECK_FALSE(compare_models(a, other, data, make_feeds(a, data), {}, {}, {}).ok());
}

TEST_CASE("the error of one layer is measured with the inputs of the unchanged model") {
  const Model model = matmul_model();
  const Tensor changed = Tensor::of<float>({3, 2}, std::vector<float>{1, 2, 3, 4, 5, 0});
  DataSet data;
  data.arrays.emplace("x", vector_of({1, 0, 2}).reshaped({1, 3}));
  const auto errors =
      output_errors(model, {{1, 1, changed, {}, {}}}, data, make_feeds(model, data), {});
  REQUIRE(errors.size() == 1);
  REQUIRE(errors[0].has_value());
  // y = (11, 14) becomes (11, 2)
  CHECK(*errors[0] == doctest::Approx(12 / std::sqrt(11.0 * 11 + 14 * 14)));
}

TEST_CASE("timing runs its bodies in turns, each at least three times") {
  std::string order;
  const auto slow = [&](char name) {
    return [&order, name] {
      order += name;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    };
  };
  const std::array<std::function<void()>, 2> bodies{slow('a'), slow('b')};
  const std::vector<Timing> times = time_interleaved(bodies, {.warmup = 0, .seconds = 0});
  CHECK(order == "abababab");  // one round of warm-up
  REQUIRE(times.size() == 2);
  CHECK(times[0].runs == 3);
  CHECK(times[0].min_ms <= times[0].median_ms);
  CHECK(times[0].median_ms <= times[0].p95_ms);
}

TEST_CASE("a turn is several runs where they are short, and the first is not counted") {
  std::string order;
  const std::array<std::function<void()>, 2> bodies{[&] { order += 'a'; }, [&] { order += 'b'; }};
  const std::vector<Timing> times = time_interleaved(bodies, {.warmup = 0, .seconds = 0});
  CHECK(order.size() == 8 + times[0].runs + times[1].runs);
  CHECK(times[0].runs > 3);
  const auto [rest, end] = std::ranges::unique(order);
  order.erase(rest, end);
  CHECK(order == "abababab");
}

TEST_CASE("an interval paces the runs") {
  const std::array<std::function<void()>, 1> body{[] {}};
  const auto start = std::chrono::steady_clock::now();
  time_interleaved(body, {.warmup = 0, .seconds = 0, .interval_ms = 20});
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  CHECK(passed.count() > 0.055);  // three intervals between four runs
}

}  // namespace
}  // namespace espalier
