#include "lib/prune/options/layer_rule.h"

#include <doctest/doctest.h>

#include "tests/lib/prune/prune_models.h"

using namespace espalier;
using namespace espalier::test;

TEST_CASE("layer rules as the command line has them") {
  const LayerRule rule = parse_layer_rule("^gru.*R$:block=8x4,sparsity=0.9,method=l1");
  CHECK(rule.pattern == "^gru.*R$");
  CHECK(rule.options.block == BlockShape{8, 4});
  CHECK(rule.options.sparsity == 0.9);
  CHECK(rule.options.method == "l1");
  CHECK(parse_layer_rule("fc:skip").options.skip);
  const auto gates = parse_layer_rule("R:gate-density=0.05/0.05/0.2").options.gate_density;
  CHECK(gates == std::vector<double>{0.05, 0.05, 0.2});
}

TEST_CASE("colons in the expression and in N:M do not split") {
  const LayerRule nm = parse_layer_rule("dense_2/kernel:0:nm=2:4");
  CHECK(nm.pattern == "dense_2/kernel:0");
  CHECK(nm.options.nm->keep == 2);
  CHECK(nm.options.nm->of == 4);
  CHECK(parse_layer_rule("(?i:W):sparsity=0.5").pattern == "(?i:W)");
  CHECK(parse_layer_rule("onnx::MatMul_4:skip").pattern == "onnx::MatMul_4");
  CHECK(parse_layer_rule("a:method=l1,nm=1:4").options.method == "l1");
}

TEST_CASE("what is wrong with a layer rule is said") {
  const auto error = [](const char* text) {
    return fault_text(Fault::kUsage, [&] { parse_layer_rule(text); });
  };
  const std::pair<const char*, const char*> cases[] = {
      {"no colon", "expected REGEX:key=value"},
      {"a:sparsity=2", "sparsity is \"2\""},
      {"a:sparsity=nan", "sparsity is \"nan\""},
      {"a:sparsity=0.5x", "sparsity is \"0.5x\""},
      {"a:sparsity=", "sparsity is \"\""},
      {"a:block=0x4", "block"},
      {"a:method=l9", "expected one of l1, l2, max, wanda, sparsegpt, admm, obs, random"},
      {"a:nm=4:2", "nm is \"4:2\""},
      {"a:nm=4", "nm is \"4\""},
      {"a:nm=0:4", "nm is \"0:4\""},
      {"a:nm=1:5000", "nm is \"1:5000\""},
      {"a:colour=red", "key \"colour\" is unknown"},
      {"a:sparsity", "expected key=value or skip"},
      {"a:gate-density=0.1//0.2", "gate-density"},
      {"a:nm=2:4,sparsity=0.5", "exclude each other"},
      {"a:nm=2:4,block=8x1", "exclude each other"},
      {"a(:skip", "RE2"},
  };
  for (const auto& [text, wanted] : cases) {
    CAPTURE(text);
    const std::string message = error(text);
    CAPTURE(message);
    CHECK(message.find(wanted) != std::string::npos);
    CHECK(message.starts_with("layer rule \""));
  }
}
TEST_CASE("what a metric may lose is a number or a share") {
  CHECK(parse_max_drop("0.3").value == 0.3);
  CHECK_FALSE(parse_max_drop("0.3").share);
  CHECK(parse_max_drop("1%").value == doctest::Approx(0.01));
  CHECK(parse_max_drop("1%").share);
  CHECK(to_string(parse_max_drop("1%")) == "1%");
  CHECK(to_string(parse_max_drop("0.25")) == "0.25");
  for (const char* text : {"", "%", "-1", "nan", "inf", "1 %", "one", "0.1.2"})
    CHECK_THROWS_AS(parse_max_drop(text), Error);
}

TEST_CASE("a cubic schedule starts at its start, ends at the sparsity and slows down") {
  const Schedule schedule = parse_schedule("cubic:start=0.2,steps=4");
  CHECK(to_string(schedule) == "cubic:start=0.2,steps=4");
  CHECK(to_string(parse_schedule("cubic:steps=3,start=0.5")) == "cubic:start=0.5,steps=3");
  CHECK(to_string(parse_schedule("cubic:steps=16")) == "cubic:start=0,steps=16");
  CHECK(scheduled_sparsity(schedule, 0.8, 0) == doctest::Approx(0.2));
  CHECK(scheduled_sparsity(schedule, 0.8, 2) == doctest::Approx(0.8 - 0.6 / 8));  // eq. 1
  CHECK(scheduled_sparsity(schedule, 0.8, 4) == 0.8);
  CHECK_THROWS_AS(scheduled_sparsity(schedule, 0.8, 5), Error);
  for (const char* text :
       {"", "linear", "cubic", "cubic:", "cubic:start=0.2", "cubic:start=2,steps=3",
        "cubic:steps=3,steps=3", "cubic:steps=3,start=0,start=0", "cubic:start=2", "cubic:steps=0",
        "cubic,steps=2", "cubic:steps=1.5", "cubic:ends=1", "cubicsteps=2"})
    CHECK_THROWS_AS(parse_schedule(text), Error);
}
