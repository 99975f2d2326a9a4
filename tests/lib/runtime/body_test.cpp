// Loop and Scan.

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/runtime/executor.h"
#include "tests/lib/runtime/graph_maker.h"

namespace espalier {
namespace {

std::shared_ptr<const Graph> shared(const Maker& maker) {
  return std::make_shared<const Graph>(maker.graph);
}

Tensor number(int64_t value) { return Tensor::of<int64_t>({}, std::span(&value, 1)); }
Tensor truth(bool value) {
  Tensor tensor = Tensor::zeros(DType::kBool, {});
  tensor.mutable_data<uint8_t>()[0] = value ? 1 : 0;
  return tensor;
}

std::vector<float> values(const Tensor& tensor) { return to_f32(tensor); }

template <typename Run>
std::string error_of(const Run& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// a, b = b, a + b; also shows a. Goes on while a + b < limit.
Maker fibonacci() {
  Maker body;
  body.input("i", DType::kI64, Shape{}).input("go", DType::kBool, Shape{});
  body.input("a", DType::kF32, Shape{1}).input("b", DType::kF32, Shape{1});
  body.node("Add", {"a", "b"}, {"sum"});
  body.node("Less", {"sum", "limit"}, {"on"});
  body.node("Identity", {"a"}, {"shown"});
  body.output("on").output("b").output("sum");
  body.graph.values[body.value("shown")].dtype = DType::kF32;
  body.graph.values[body.value("shown")].shape = Shape{1};
  body.output("shown");
  return body;
}

Maker loop_of(const Maker& body, bool count, bool condition) {
  Maker maker;
  maker.input("limit", DType::kF32, Shape{1});
  maker.input("a", DType::kF32, Shape{1}).input("b", DType::kF32, Shape{1});
  if (count) maker.input("count", DType::kI64, Shape{});
  if (condition) maker.input("condition", DType::kBool, Shape{});
  Node& node = maker.node("Loop", {count ? "count" : "", condition ? "condition" : "", "a", "b"},
                          {"a_end", "b_end", "all"});
  set_attribute(node, "body", shared(body));
  maker.output("a_end").output("b_end").output("all");
  return maker;
}

TEST_CASE("Loop carries values that change places, and collects what a step shows") {
  Executor executor(loop_of(fibonacci(), true, true).model(), {});
  const auto run = [&](int64_t count, bool condition, float limit) {
    return executor.run({{"limit", floats({1}, {limit})},
                         {"a", floats({1}, {0})},
                         {"b", floats({1}, {1})},
                         {"count", number(count)},
                         {"condition", truth(condition)}});
  };
  for (int again = 0; again < 2; ++again) {
    const Feed by_count = run(7, true, 1000);
    CHECK(values(by_count.at("all")) == std::vector<float>{0, 1, 1, 2, 3, 5, 8});
    CHECK(by_count.at("all").shape() == Shape{7, 1});
    CHECK(values(by_count.at("a_end")) == std::vector<float>{13});
    CHECK(values(by_count.at("b_end")) == std::vector<float>{21});
    const Feed by_condition = run(INT64_MAX, true, 5);
    CHECK(values(by_condition.at("all")) == std::vector<float>{0, 1, 1, 2});
    for (const auto& [count, condition] : {std::pair{int64_t{0}, true}, {-3, true}, {5, false}}) {
      const Feed never = run(count, condition, 5);
      CHECK(values(never.at("b_end")) == std::vector<float>{1});
      CHECK(never.at("all").shape() == Shape{0, 1});
    }
  }
}

TEST_CASE("Loop without a count or condition of the node ends by its body") {
  Executor executor(loop_of(fibonacci(), false, false).model(), {});
  const Feed got = executor.run(
      {{"limit", floats({1}, {30})}, {"a", floats({1}, {0})}, {"b", floats({1}, {1})}});
  CHECK(values(got.at("b_end")) == std::vector<float>{34});
}

TEST_CASE("Loop gives its step's number, and lets a carried value grow") {
  Maker body;
  body.input("i", DType::kI64, Shape{1}).input("go", DType::kBool, Shape{});
  body.input("list", DType::kI64, std::nullopt);
  Node& concat = body.node("Concat", {"list", "i"}, {"longer"});
  set_attribute(concat, "axis", int64_t{0});
  body.node("Identity", {"go"}, {"on"});
  body.output("on").output("longer");
  Maker maker;
  maker.input("count", DType::kI64, Shape{1}).weight("start", Tensor::zeros(DType::kI64, {0}));
  set_attribute(maker.node("Loop", {"count", "", "start"}, {"list_end"}), "body", shared(body));
  maker.output("list_end");
  Executor executor(maker.model(), {});
  const int64_t four = 4;
  const Feed got = executor.run({{"count", Tensor::of<int64_t>({1}, std::span(&four, 1))}});
  CHECK(to_i64(got.at("list_end")) == std::vector<int64_t>{0, 1, 2, 3});
}

TEST_CASE("Loop says what does not fit") {
  SUBCASE("a scan output of changing shape") {
    Maker body;
    body.input("i", DType::kI64, Shape{}).input("go", DType::kBool, Shape{});
    body.input("x", DType::kF32, std::nullopt);
    set_attribute(body.node("Concat", {"x", "x"}, {"twice"}), "axis", int64_t{0});
    body.node("Identity", {"go"}, {"on"});
    body.output("on").output("twice").output("twice");
    Maker maker;
    maker.input("count", DType::kI64, Shape{}).input("x", DType::kF32, Shape{2});
    set_attribute(maker.node("Loop", {"count", "", "x"}, {"end", "all"}), "body", shared(body));
    maker.output("all");
    Executor executor(maker.model(), {});
    CHECK(error_of([&] {
            executor.run({{"count", number(3)}, {"x", floats({2}, {1, 2})}});
          }) == "node the_Loop (Loop): a scan output was f32 [4] and became f32 [8]");
  }
  SUBCASE("a body with other inputs than the node") {
    Maker maker = loop_of(fibonacci(), true, true);
    maker.graph.nodes[0].inputs.pop_back();
    CHECK(error_of([&] { Executor(maker.model(), {}); }) ==
          "node the_Loop (Loop): the body has 4 inputs, expected 3");
  }
  SUBCASE("no body") {
    Maker maker = loop_of(fibonacci(), true, true);
    maker.graph.nodes[0].attributes.clear();
    CHECK(error_of([&] { Executor(maker.model(), {}); }) ==
          "node the_Loop (Loop): expected a body");
  }
  SUBCASE("a condition that is no bool") {
    Maker body = fibonacci();
    body.graph.outputs[0] = body.value("sum");
    Executor executor(loop_of(body, true, true).model(), {});
    CHECK(error_of([&] {
            executor.run({{"limit", floats({1}, {9})},
                          {"a", floats({1}, {0})},
                          {"b", floats({1}, {1})},
                          {"count", number(3)},
                          {"condition", truth(true)}});
          }) == "node the_Loop (Loop): the condition is not one bool");
  }
}

// total += x; shows the total.
Maker running_sum(const Shape& shape) {
  Maker body;
  body.input("total", DType::kF32, shape).input("x", DType::kF32, shape);
  body.node("Add", {"total", "x"}, {"next"});
  body.node("Identity", {"next"}, {"shown"});
  body.output("next").output("shown");
  for (const char* name : {"next", "shown"}) {
    body.graph.values[body.value(name)].dtype = DType::kF32;
    body.graph.values[body.value(name)].shape = shape;
  }
  return body;
}

using Ints = std::vector<int64_t>;

Model scan_of(const Maker& body, const std::vector<std::pair<std::string, Ints>>& lists) {
  Maker maker;
  maker.input("total", DType::kF32, std::nullopt).input("x", DType::kF32, std::nullopt);
  Node& node = maker.node("Scan", {"total", "x"}, {"end", "all"});
  set_attribute(node, "body", shared(body));
  set_attribute(node, "num_scan_inputs", int64_t{1});
  for (const auto& [name, list] : lists) set_attribute(node, name, list);
  maker.output("end").output("all");
  return maker.model();
}

TEST_CASE(
    "Scan walks its inputs along any axis, forwards or backwards, and lays outputs likewise") {
  const Tensor x = floats({2, 3}, {1, 2, 3, 10, 20, 30});
  const auto run = [&](const Shape& state, const std::vector<std::pair<std::string, Ints>>& lists,
                       const Tensor& input) {
    Executor executor(scan_of(running_sum(state), lists), {});
    executor.run({{"total", Tensor::zeros(DType::kF32, state)}, {"x", input}});
    return executor.run({{"total", Tensor::zeros(DType::kF32, state)}, {"x", input}});
  };
  Feed got = run({3}, {}, x);
  CHECK(values(got.at("end")) == std::vector<float>{11, 22, 33});
  CHECK(values(got.at("all")) == std::vector<float>{1, 2, 3, 11, 22, 33});

  got = run({2}, {{"scan_input_axes", {1}}, {"scan_output_axes", {-1}}}, x);
  CHECK(values(got.at("end")) == std::vector<float>{6, 60});
  CHECK(got.at("all").shape() == Shape{2, 3});
  CHECK(values(got.at("all")) == std::vector<float>{1, 3, 6, 10, 30, 60});

  got = run({2}, {{"scan_input_axes", {-1}}, {"scan_input_directions", {1}}}, x);
  CHECK(got.at("all").shape() == Shape{3, 2});
  CHECK(values(got.at("all")) == std::vector<float>{3, 30, 5, 50, 6, 60});

  got = run({2}, {{"scan_input_axes", {1}}, {"scan_output_directions", {1}}}, x);
  CHECK(values(got.at("all")) == std::vector<float>{6, 60, 3, 30, 1, 10});

  got = run({3}, {}, Tensor::zeros(DType::kF32, {0, 3}));
  CHECK(values(got.at("end")) == std::vector<float>{0, 0, 0});
  CHECK(got.at("all").shape() == Shape{0, 3});
}

TEST_CASE("Scan of opset 8 takes a batch of sequences with their lengths") {
  Maker maker;
  maker.input("lengths", DType::kI64, Shape{2}).input("total", DType::kF32, Shape{2, 1});
  maker.input("x", DType::kF32, Shape{2, 3, 1});
  Node& node = maker.node("Scan", {"lengths", "total", "x"}, {"end", "all"});
  set_attribute(node, "body", shared(running_sum({1})));
  set_attribute(node, "num_scan_inputs", int64_t{1});
  maker.output("end").output("all");
  Model model = maker.model();
  model.origin.opset = 8;
  Executor executor(model, {});
  const std::vector<int64_t> lengths{3, 2};
  const Feed feed{{"lengths", Tensor::of<int64_t>({2}, lengths)},
                  {"total", floats({2, 1}, {0, 100})},
                  {"x", floats({2, 3, 1}, {1, 2, 3, 10, 20, 30})}};
  const Feed got = executor.run(feed);
  CHECK(values(got.at("end")) == std::vector<float>{6, 130});
  CHECK(got.at("all").shape() == Shape{2, 3, 1});
  CHECK(values(got.at("all")) == std::vector<float>{1, 3, 6, 110, 130, 0});
}

TEST_CASE("Scan says what does not fit") {
  const auto made = [](const std::vector<std::pair<std::string, Ints>>& lists) {
    return error_of([&] { Executor(scan_of(running_sum({1}), lists), {}); });
  };
  CHECK(made({{"scan_input_axes", {0, 1}}}) ==
        "node the_Scan (Scan): scan_input_axes has 2 values, expected 1");
  CHECK(made({{"scan_output_directions", {2}}}) ==
        "node the_Scan (Scan): scan_output_directions holds 2, expected 0 or 1");
  Model many = scan_of(running_sum({1}), {});
  set_attribute(many.graph.nodes[0], "num_scan_inputs", int64_t{9});
  CHECK(error_of([&] { Executor(many, {}); }) ==
        "node the_Scan (Scan): num_scan_inputs is 9, expected 1 to 2");
  Executor executor(scan_of(running_sum({1}), {{"scan_input_axes", {5}}}), {});
  CHECK(error_of([&] {
          executor.run({{"total", floats({1}, {0})}, {"x", floats({2, 1}, {1, 2})}});
        }) == "node the_Scan (Scan): axis is 5, expected -2 to 1");
}

}  // namespace
}  // namespace espalier
