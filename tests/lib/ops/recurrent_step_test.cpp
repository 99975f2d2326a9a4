// Steps of recurrent layers in several spellings: which operator they are, and with which weights.

#include "lib/ops/recurrent_step.h"

#include <doctest/doctest.h>

#include "tests/lib/runtime/graph_maker.h"

namespace espalier {
namespace {

constexpr int64_t kHidden = 2, kInputs = 3;

// A body with x, h, c, and weights W, R, B of so many gates.
struct Step {
  Maker m;

  explicit Step(int64_t gates) {
    m.input("x", DType::kF32, Shape{1, kInputs});
    m.input("h", DType::kF32, Shape{1, kHidden});
    m.input("c", DType::kF32, Shape{1, kHidden});
    m.weight("W", Tensor::zeros(DType::kF32, {kInputs, gates * kHidden}));
    m.weight("R", Tensor::zeros(DType::kF32, {kHidden, gates * kHidden}));
    m.weight("B", Tensor::zeros(DType::kF32, {gates * kHidden}));
    m.weight("one", floats({}, {1}));
    m.node("MatMul", {"x", "W"}, {"xW"});
    m.node("MatMul", {"h", "R"}, {"hR"});
    m.node("Add", {"B", "xW"}, {"xWB"});
    m.node("Add", {"xWB", "hR"}, {"sum"});
  }
  void split(const std::string& from, const std::vector<std::string>& to) {
    m.node("Split", {from}, to).attributes = {{"axis", int64_t{-1}, {}}};
  }
  std::optional<RecurrentStep> found(const std::string& next_h, const std::string& next_c = "") {
    ThreadPool pool(1);
    std::vector<StepInput> inputs{{m.value("x"), kInputs}, {m.value("h"), kHidden}};
    std::vector<StepState> states{{1, m.value(next_h)}};
    if (!next_c.empty()) {
      inputs.push_back({m.value("c"), kHidden});
      states.push_back({2, m.value(next_c)});
    }
    std::vector<StepConstant> constants;
    for (const auto& [value, weight] : m.graph.weights)
      constants.push_back({value, weight.dense(), weight.shape(), {}});
    const StepFormula formula(m.graph, 13, DType::kF32, inputs, constants, pool);
    return recurrent_step(formula, states);
  }
};

// z, r, n of a GRU whose reset gate waits for the product.
Step gru_gates() {
  Step s(3);
  s.split("xWB", {"xz", "xr", "xn"});
  s.split("hR", {"hz", "hr", "hn"});
  s.m.node("Add", {"hz", "xz"}, {"sz"});
  s.m.node("Add", {"xr", "hr"}, {"sr"});
  s.m.node("Sigmoid", {"sz"}, {"z"});
  s.m.node("Sigmoid", {"sr"}, {"r"});
  s.m.node("Mul", {"hn", "r"}, {"rhn"});
  s.m.node("Add", {"xn", "rhn"}, {"sn"});
  s.m.node("Tanh", {"sn"}, {"n"});
  return s;
}

}  // namespace

TEST_CASE("an RNN of every activation, with its parameters") {
  for (const char* op : {"Tanh", "Relu", "Sigmoid", "Softsign", "Softplus"}) {
    CAPTURE(op);
    Step s(1);
    s.m.node(op, {"sum"}, {"y"});
    const auto step = s.found("y");
    REQUIRE(step);
    CHECK(step->op == "RNN");
    CHECK(step->activations[0].name == op);
    CHECK(step->gates[0].biases.size() == 1);
  }
  Step s(1);
  s.m.weight("two", floats({}, {2}));
  s.m.node("Mul", {"two", "sum"}, {"inside"});
  s.m.node("Tanh", {"inside"}, {"bent"});
  s.m.node("Mul", {"bent", "two"}, {"y"});
  const auto step = s.found("y");
  REQUIRE(step);
  CHECK(step->activations[0] == RecurrentStep::Activation{"ScaledTanh", 2, 2});
  CHECK(step->gates[0].w->scale == 1);
  Step linear(1);
  REQUIRE(linear.found("sum"));
  CHECK(linear.found("sum")->activations[0] == RecurrentStep::Activation{"Affine", 1, 0});
}

TEST_CASE("a GRU's update in all its spellings is one formula") {
  for (const std::string form : {"(1 - z) n + z h", "n + z (h - n)", "n - z n + h z"}) {
    CAPTURE(form);
    Step s = gru_gates();
    if (form == "n + z (h - n)") {
      s.m.node("Sub", {"h", "n"}, {"d"});
      s.m.node("Mul", {"d", "z"}, {"zd"});
      s.m.node("Add", {"zd", "n"}, {"y"});
    } else if (form == "n - z n + h z") {
      s.m.node("Mul", {"z", "n"}, {"zn"});
      s.m.node("Sub", {"n", "zn"}, {"kept"});
      s.m.node("Mul", {"h", "z"}, {"zh"});
      s.m.node("Add", {"zh", "kept"}, {"y"});
    } else {
      s.m.node("Sub", {"one", "z"}, {"open"});
      s.m.node("Mul", {"n", "open"}, {"on"});
      s.m.node("Mul", {"z", "h"}, {"zh"});
      s.m.node("Add", {"on", "zh"}, {"y"});
    }
    const auto step = s.found("y");
    REQUIRE(step);
    CHECK(step->op == "GRU");
    CHECK(step->reset_after);
    CHECK(step->gates[0].r->outputs == ColumnRange{0, 2});
    CHECK(step->gates[1].r->outputs == ColumnRange{2, 4});
    CHECK(step->held->r->outputs == ColumnRange{4, 6});
    CHECK(step->gates[2].biases[0].columns == ColumnRange{4, 6});
    CHECK(activation_lists(*step).usual);
  }
}

TEST_CASE("a GRU that takes z for 1 - z has the weights of that gate negated") {
  Step s = gru_gates();
  s.m.node("Sub", {"one", "z"}, {"keep"});
  s.m.node("Mul", {"n", "z"}, {"zn"});
  s.m.node("Mul", {"keep", "h"}, {"kh"});
  s.m.node("Add", {"zn", "kh"}, {"y"});
  const auto step = s.found("y");
  REQUIRE(step);
  CHECK(step->gates[0].r->scale == -1);
  CHECK(step->gates[0].w->scale == -1);
  CHECK(step->gates[0].biases[0].scale == -1);
  CHECK(step->gates[1].r->scale == 1);
}

TEST_CASE("an LSTM with a bias of its forget gate, and what is none") {
  const auto lstm = [](const char* out_of, const char* forget_of) {
    Step s(4);
    s.split("sum", {"si", "so", "sf", "sc"});
    s.m.node("Add", {forget_of, "one"}, {"sf1"});
    s.m.node("Sigmoid", {"si"}, {"i"});
    s.m.node("Sigmoid", {"so"}, {"o"});
    s.m.node("Sigmoid", {"sf1"}, {"f"});
    s.m.node("Tanh", {"sc"}, {"g"});
    s.m.node("Mul", {"g", "i"}, {"ig"});
    s.m.node("Mul", {"c", "f"}, {"fc"});
    s.m.node("Add", {"ig", "fc"}, {"c1"});
    s.m.node("Tanh", {out_of}, {"bent"});
    s.m.node("Mul", {"o", "bent"}, {"h1"});
    return s.found("h1", "c1");
  };
  const auto step = lstm("c1", "sf");
  REQUIRE(step);
  CHECK(step->op == "LSTM");
  CHECK(step->h == 0);
  CHECK(step->gates[2].number == 1);
  CHECK(step->gates[1].r->outputs == ColumnRange{2, 4});
  CHECK_FALSE(lstm("c", "sf"));   // the cell before the step
  CHECK_FALSE(lstm("c1", "hR"));  // a gate that is not as wide
}

TEST_CASE("steps that no operator of ONNX computes are not recognised") {
  Step residual(1);
  residual.m.node("Tanh", {"sum"}, {"t"});
  residual.m.node("Add", {"t", "h"}, {"y"});
  CHECK_FALSE(residual.found("y"));
  Step squared(1);
  squared.m.node("Mul", {"sum", "sum"}, {"y"});
  CHECK_FALSE(squared.found("y"));
  Step half(2);  // h reads half of what it is
  half.split("sum", {"a", "b"});
  half.m.node("Mul", {"a", "b"}, {"y"});
  CHECK_FALSE(half.found("y"));
  Step no_x(1);
  no_x.m.node("Tanh", {"hR"}, {"y"});
  CHECK_FALSE(no_x.found("y"));
}

}  // namespace espalier
