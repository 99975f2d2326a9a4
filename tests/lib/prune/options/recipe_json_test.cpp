#include "lib/prune/options/recipe_json.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>

#include "lib/prune/score/criterion.h"
#include "tests/lib/prune/prune_models.h"

using namespace espalier;
using namespace espalier::test;
using Json = nlohmann::json;

namespace {

constexpr const char* kEverything = R"({
  "sparsity": 0.75, "block": "8x4", "method": "l1", "scope": "global", "diagonal": "prune", "refit": false,
  "sequential": true, "max_drop": "1%", "confident": true, "schedule": "cubic:start=0.1,steps=3",
  "values": "f16", "op": ["GRU", "Gemm"], "min_weights": 64, "depthwise": true,
  "keep_first_last": true, "exclude": ["^a", {"match": "^b", "optional": true}],
  "force": ["stft", "mel"], "seed": 18446744073709551615,
  "profile": "portable", "index": "first-element",
  "layers": [{"match": "R$", "block": "16x1", "sparsity": 0.9, "method": "max"},
             {"match": "W$", "nm": "2:4"}, {"match": "gru", "gate_density": [0.05, 0.05, 0.2]},
             {"match": "out", "skip": true, "optional": true}]})";

std::string refusal(std::string_view text) {
  return fault_text(Fault::kFormat, [&] { read_recipe(text); });
}

// As much of JSON Schema as docs/recipe.schema.json uses; a keyword that is not known fails.
bool valid(const Json& schema, const Json& value, const Json& root) {
  bool ok = true;
  for (const auto& [keyword, rule] : schema.items()) {
    if (keyword == "$ref") {
      const auto path = rule.get<std::string>().substr(1);
      ok &= valid(root.at(Json::json_pointer(path)), value, root);
    } else if (keyword == "type") {
      const std::string type = rule;
      ok &= type == "integer" ? value.is_number_integer() : type == std::string(value.type_name());
    } else if (keyword == "anyOf") {
      ok &= std::ranges::any_of(rule, [&](const Json& way) { return valid(way, value, root); });
    } else if (keyword == "enum") {
      ok &= std::ranges::count(rule, value) == 1;
    } else if (keyword == "minimum" || keyword == "maximum") {
      const bool least = keyword == "minimum";
      if (value.is_number()) ok &= least ? value >= rule : value <= rule;
    } else if (keyword == "pattern") {
      ok &= value.is_string() &&
            std::regex_search(value.get<std::string>(), std::regex(rule.get<std::string>()));
    } else if (keyword == "minItems") {
      ok &= value.size() >= rule.get<size_t>();
    } else if (keyword == "items") {
      for (const Json& item : value) ok &= valid(rule, item, root);
    } else if (keyword == "required") {
      for (const Json& key : rule) ok &= value.contains(key.get<std::string>());
    } else if (keyword == "properties") {
      for (const auto& [key, item] : value.items())
        ok &= !rule.contains(key) || valid(rule.at(key), item, root);
    } else if (keyword == "additionalProperties") {
      for (const auto& [key, item] : value.items()) ok &= schema.at("properties").contains(key);
    } else {
      const bool says_nothing = keyword == "$schema" || keyword == "title" || keyword == "$defs" ||
                                keyword == "description" || keyword == "default";
      REQUIRE_MESSAGE(says_nothing, keyword);
    }
  }
  return ok;
}

Json schema() {
  std::ifstream file(ESPALIER_SOURCE_DIR "/docs/recipe.schema.json");
  REQUIRE(file.good());
  return Json::parse(file);
}

}  // namespace

TEST_CASE("a recipe with every key is read, written and read again the same") {
  const PruneOptions options = read_recipe(kEverything);
  CHECK(options.sparsity == 0.75);
  CHECK(options.block == BlockShape{8, 4});
  CHECK(options.scope == "global");
  CHECK_FALSE(options.keep_diagonal);
  CHECK(options.select.operators == std::vector<std::string>{"GRU", "Gemm"});
  CHECK(options.select.min_weights == 64);
  CHECK(options.seed == UINT64_MAX);
  CHECK(options.profile == "portable");
  REQUIRE(options.rules.size() == 4);
  CHECK(options.rules[1].options.nm->of == 4);
  CHECK(options.rules[2].options.gate_density.size() == 3);
  CHECK(options.rules[3].options.skip);
  CHECK(options.rules[3].optional);
  CHECK(options.select.exclude == std::vector<std::string>{"^a", "^b"});
  CHECK(options.select.optional == std::set<std::string>{"^b"});
  const std::string text = recipe_json(options);
  CHECK(recipe_json(read_recipe(text)) == text);
  const Json given = Json::parse(kEverything), written = Json::parse(text);
  for (const auto& [key, value] : given.items()) CHECK(written.at(key) == value);
}

TEST_CASE("keys may be spelled, and sizes and rules written, as on the command line") {
  const PruneOptions options = read_recipe(
      R"({"min-weights": 5, "keep-first-last": true, "no-refit": true, "target-size": "1.5 MB",
          "layer": ["W1:block=8x1,sparsity=0.2"]})");
  CHECK(options.select.min_weights == 5);
  CHECK(options.select.keep_first_last);
  CHECK_FALSE(options.refit);
  CHECK(options.target->value == 1.5e6);
  REQUIRE(options.rules.size() == 1);
  CHECK(options.rules[0].pattern == "W1");
  CHECK(options.rules[0].options.block == BlockShape{8, 1});
  CHECK(read_recipe(R"({"target_size": "90kB"})").target->value == 90000);
  CHECK(read_recipe(R"({"target_size": "2KiB"})").target->value == 2048);
  CHECK(refusal(R"({"target_size": "90 parsecs"})").find("like") != std::string::npos);
  CHECK(refusal(R"({"target_size": ""})") != "no error");
  CHECK(refusal(R"({"layer": "W1:skip"})") != "no error");
  CHECK(refusal(R"({"calib": "data"})").find("calib") != std::string::npos);
  CHECK(read_recipe(R"({"calib": "data", "sparsity": 0.1})", {}, {"calib"}).sparsity == 0.1);
}

TEST_CASE("targets and schedules go through a recipe") {
  for (const char* text : {R"({"target_size": 100000.0})",
                           R"({"target_latency": 0.5, "schedule": "cubic:start=0.1,steps=3"})",
                           R"({"max_drop": 0.3})", R"({"max_drop": "1%"})"}) {
    CAPTURE(text);
    const PruneOptions options = read_recipe(text);
    REQUIRE(options.target.has_value());
    const Json given = Json::parse(text), written = Json::parse(recipe_json(options));
    for (const auto& [key, value] : given.items()) CHECK(written.at(key) == value);
    CHECK(valid(schema(), written, schema()));
    CHECK(recipe_json(read_recipe(recipe_json(options))) == recipe_json(options));
  }
  CHECK(refusal(R"({"max_drop": "a lot"})").find("max-drop") != std::string::npos);
  CHECK(refusal(R"({"target_size": -1})").find("target_size") != std::string::npos);
  CHECK(refusal(R"({"schedule": "linear"})").find("schedule") != std::string::npos);
  CHECK(refusal(R"({"target_size": 1, "nm": "2:4"})").find("nm") != std::string::npos);
}

TEST_CASE("keys that a recipe does not name keep the base's value") {
  PruneOptions base;
  base.sparsity = 0.3;
  base.method = "max";
  const PruneOptions options = read_recipe(R"({"method": "l1"})", base);
  CHECK(options.sparsity == 0.3);
  CHECK(options.method == "l1");
  CHECK(recipe_json(read_recipe("{}")) == recipe_json(PruneOptions{}));
}

TEST_CASE("what a recipe must not hold is refused by key and value") {
  const std::pair<std::string, const char*> cases[] = {
      {"", "empty"},
      {"[0.5, 0.5]", "top level is array"},
      {"0.5", "top level is number"},
      {R"({"sparsity": NaN})", "not JSON"},
      {R"({"sparsity": 1e999})", "not JSON"},
      {"{\n\"sparsity\": 0.5,\n}", "line 3"},
      {R"({"sparsity": 1.5})", "\"sparsity\" is 1.5"},
      {R"({"sparsity": -0.1})", "\"sparsity\" is -0.1"},
      {R"({"sparsity": "0.5"})", "\"sparsity\" is \"0.5\""},
      {R"({"sparsity": null})", "\"sparsity\" is null"},
      {R"({"sparsity": 0.5, "sparsity": 0.6})", "duplicate key \"sparsity\""},
      {R"({"sparsety": 0.5})", "\"sparsety\" is unknown"},
      {R"({"block": "16"})", "16"},
      {R"({"exclude": [{"optional": true}]})", "has no \"match\""},
      {R"({"op": [{"match": "Conv", "maybe": true}]})", "\"maybe\" in \"op\" is unknown"},
      {R"({"exclude": ["("]})", "pattern \"(\""},
      {R"({"layers": [{"match": "("}]})", "pattern \"(\""},
      {R"({"block": [16, 1]})", "\"block\" is array"},
      {R"({"nm": "4:2"})", "nm"},
      {R"({"method": "l9"})", "one of l1"},
      {R"({"scope": "galaxy"})", "scope"},
      {R"({"values": "f8"})", "values"},
      {R"({"diagonal": true})", "\"diagonal\" is true"},
      {R"({"diagonal": "both"})", "\"diagonal\" is"},
      {R"({"seed": -1})", "\"seed\" is -1"},
      {R"({"seed": 1.5})", "\"seed\" is 1.5"},
      {R"({"min_weights": 18446744073709551616})", "min_weights"},
      {R"({"op": "GRU"})", "\"op\" is"},
      {R"({"exclude": ["("]})", "pattern \"(\""},
      {R"({"layers": {}})", "\"layers\" is object"},
      {R"({"layers": [1]})", "\"layers\" is 1"},
      {R"({"layers": [{"skip": true}]})", "\"match\""},
      {R"({"layers": [{"match": "a", "colour": 1}]})", "\"colour\" in \"layers\" is unknown"},
      {R"({"layers": [{"match": "[", "skip": true}]})", "layer rule \"[\""},
      {R"({"layers": [{"match": "a", "gate_density": []}]})", "gate_density"},
      {R"({"layers": [{"match": "a", "nm": "2:4", "sparsity": 0.5}]})", "exclude each other"},
      {"{\"method\": \"\x1b[31m\"}", "not JSON"},
      {"{\"method\": \"\xff\"}", "not JSON"},
      {std::string(50000, '['), "nested deeper than 16"},
      {std::string(50000, '[') + std::string(50000, ']'), "nested deeper than 16"},
  };
  for (const auto& [text, wanted] : cases) {
    const std::string message = refusal(text);
    CAPTURE(message);
    CHECK(message.find(wanted) != std::string::npos);
    CHECK(message.find('\n') == std::string::npos);
  }
}

TEST_CASE("the hostile recipes are refused") {
  const std::filesystem::path folder = ESPALIER_SOURCE_DIR "/../shared/hostile/cases";
  if (!std::filesystem::exists(folder)) {
    MESSAGE("skipped: ../shared/hostile is not there");
    return;
  }
  for (const char* name : {"json_array", "json_deep", "json_empty", "json_nan"}) {
    CAPTURE(name);
    std::ifstream file(folder / (std::string(name) + ".json"));
    REQUIRE(file.good());
    const std::string text(std::istreambuf_iterator<char>(file), {});
    CHECK(refusal(text) != "no error");
  }
}

TEST_CASE("the schema takes what the reader takes and refuses what it refuses") {
  const Json rules = schema();
  const Json everything = Json::parse(kEverything);
  CHECK(valid(rules, everything, rules));
  CHECK(valid(rules, Json::parse(recipe_json(PruneOptions{})), rules));
  CHECK(valid(rules, Json::parse(recipe_json(read_recipe(kEverything))), rules));
  for (const char* text :
       {R"([])", R"({"sparsity": 2})", R"({"sparsity": "0.5"})", R"({"colour": 1})",
        R"({"block": "16"})", R"({"nm": "2/4"})", R"({"method": "l9"})", R"({"scope": "galaxy"})",
        R"({"values": "f8"})", R"({"diagonal": true})", R"({"seed": -1})", R"({"op": "GRU"})",
        R"({"layers": [{}]})", R"({"layers": [{"match": "a", "colour": 1}]})",
        R"({"layers": [{"match": "a", "gate_density": []}]})"}) {
    CAPTURE(text);
    CHECK_FALSE(valid(rules, Json::parse(text), rules));
    CHECK(refusal(text) != "no error");
  }
}

TEST_CASE("schema and reader know the same keys, defaults and methods") {
  const Json rules = schema();
  const Json defaults = Json::parse(recipe_json(PruneOptions{}));
  const Json everything = Json::parse(kEverything);
  for (const auto& [key, rule] : rules.at("properties").items()) {
    CAPTURE(key);
    // By block and by max_drop; keys of a run and other spellings have titles.
    const bool excluded = key == "nm" || key.starts_with("target_") || rule.contains("title");
    CHECK((everything.contains(key) || excluded));
    if (rule.contains("default") && rule.at("default") != "")
      CHECK(defaults.at(key) == rule.at("default"));
  }
  std::vector<std::string> methods;
  for (const Criterion* criterion : criteria()) methods.emplace_back(criterion->name);
  CHECK(rules.at("$defs").at("method").at("enum") == Json(methods));
}
