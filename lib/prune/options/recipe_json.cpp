#include "lib/prune/options/recipe_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/base/error.h"
#include "lib/base/limits.h"
#include "lib/prune/options/layer_rule.h"

namespace espalier {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr int kMaxDepth = limits::recipe_nesting;

[[noreturn]] void refuse(std::string text) { throw Error(Fault::kFormat, std::move(text)); }

// ---- text to Json.

// Refuses what nlohmann's parser lets pass: deep nesting (its parser keeps no stack of calls, what
// walks the result would) and duplicate keys.
Json parse_strictly(std::string_view text) {
  if (text.size() > limits::recipe_bytes) {
    refuse(fmt::format("the text has {} bytes, expected at most {}", text.size(),
                       limits::recipe_bytes));
  }
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kMaxDepth) refuse(fmt::format("nested deeper than {} levels", kMaxDepth));
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second)
      refuse(fmt::format("duplicate key \"{}\"", printable(value.get<std::string>())));
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), watch);
  } catch (const Json::parse_error& error) {
    const size_t at = std::min(error.byte == 0 ? 0 : error.byte - 1, text.size());
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(at), '\n');
    refuse(fmt::format("line {}, byte {}: not JSON (RFC 8259){}", line, at,
                       text.empty() ? ", the text is empty" : ""));
  } catch (const Json::exception&) {  // a number out of range
    refuse("not JSON (RFC 8259): a number is out of range");
  }
}

// ---- Json to options. Each reader gets the key for its message.

const char* kind_of(const Json& value) { return value.type_name(); }

[[noreturn]] void wrong(const std::string& key, const Json& value, std::string_view wanted) {
  const std::string text =
      value.is_structured() || value.is_null() ? kind_of(value) : printable(value.dump(), 60);
  refuse(fmt::format("\"{}\" is {}, expected {}", printable(key), text, wanted));
}

PruneTarget read_target(const std::string& key, const Json& value, PruneTarget::Kind kind) {
  const double number = value.is_number() ? value.get<double>() : -1;
  if (!(number >= 0)) wrong(key, value, "a number, 0 or more");
  return {kind, number, false};
}

PruneTarget read_drop(const std::string& key, const Json& value) {
  return value.is_string() ? parse_max_drop(value.get<std::string>())
                           : read_target(key, value, PruneTarget::Kind::kDrop);
}

double read_share(const std::string& key, const Json& value) {
  if (!value.is_number()) wrong(key, value, "a number from 0 to 1");
  const double share = value.get<double>();
  if (!(share >= 0 && share <= 1)) wrong(key, value, "a number from 0 to 1");
  return share;
}

uint64_t read_count(const std::string& key, const Json& value) {
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  wrong(key, value, "an integer, 0 or more");
}

bool read_bool(const std::string& key, const Json& value) {
  if (!value.is_boolean()) wrong(key, value, "true or false");
  return value.get<bool>();
}

std::string read_text(const std::string& key, const Json& value) {
  if (!value.is_string()) wrong(key, value, "a string");
  return value.get<std::string>();
}

// Strings, or objects {"match": ..., "optional": true} for patterns that may match nothing.
std::vector<std::string> read_patterns(const std::string& key, const Json& value,
                                       std::set<std::string>& optional) {
  constexpr auto kExpected = "an array of strings or of objects with \"match\"";
  if (!value.is_array()) wrong(key, value, kExpected);
  std::vector<std::string> patterns;
  for (const Json& element : value) {
    if (!element.is_object()) {
      patterns.push_back(read_text(key, element));
      continue;
    }
    for (const auto& [name, of] : element.items()) {
      if (name != "match" && name != "optional")
        refuse(fmt::format("key \"{}\" in \"{}\" is unknown", printable(name), key));
    }
    if (!element.contains("match")) refuse(fmt::format("an entry of \"{}\" has no \"match\"", key));
    patterns.push_back(read_text("match", element["match"]));
    if (element.contains("optional") && read_bool("optional", element["optional"]))
      optional.insert(patterns.back());
  }
  return patterns;
}

std::vector<double> read_shares(const std::string& key, const Json& value) {
  if (!value.is_array() || value.empty()) wrong(key, value, "an array of numbers from 0 to 1");
  std::vector<double> shares;
  for (const Json& element : value) shares.push_back(read_share(key, element));
  return shares;
}

BlockShape read_block(const std::string& key, const Json& value) {
  return parse_block_shape(read_text(key, value));
}

bool read_diagonal(const std::string& key, const Json& value) {
  const std::string text = read_text(key, value);
  if (text != "keep" && text != "prune") wrong(key, value, "keep or prune");
  return text == "keep";
}

// One entry of "layers": "match" and what it sets.
LayerRule read_rule(const Json& object) {
  if (!object.is_object()) wrong("layers", object, "an array of objects");
  LayerRule rule;
  for (const auto& [key, value] : object.items()) {
    LayerOptions& options = rule.options;
    if (key == "match") {
      rule.pattern = read_text(key, value);
    } else if (key == "block") {
      options.block = read_block(key, value);
    } else if (key == "sparsity") {
      options.sparsity = read_share(key, value);
    } else if (key == "method") {
      options.method = read_text(key, value);
    } else if (key == "nm") {
      options.nm = parse_nm(read_text(key, value));
    } else if (key == "gate_density") {
      options.gate_density = read_shares(key, value);
    } else if (key == "skip") {
      options.skip = read_bool(key, value);
    } else if (key == "optional") {
      rule.optional = read_bool(key, value);
    } else {
      refuse(fmt::format("key \"{}\" in \"layers\" is unknown", printable(key)));
    }
  }
  if (!object.contains("match")) refuse("an entry of \"layers\" has no \"match\"");
  return rule;
}

std::vector<LayerRule> read_rules(const Json& value) {
  if (!value.is_array()) wrong("layers", value, "an array of objects");
  std::vector<LayerRule> rules;
  for (const Json& rule : value) rules.push_back(read_rule(rule));
  return rules;
}

// "90kB", "1.5 MiB", or a number of bytes.
PruneTarget read_size(const std::string& key, const Json& value) {
  if (!value.is_string()) return read_target(key, value, PruneTarget::Kind::kSize);
  static constexpr std::array<std::pair<std::string_view, double>, 10> kUnits{{{"", 1},
                                                                               {"b", 1},
                                                                               {"k", 1e3},
                                                                               {"kb", 1e3},
                                                                               {"m", 1e6},
                                                                               {"mb", 1e6},
                                                                               {"g", 1e9},
                                                                               {"gb", 1e9},
                                                                               {"kib", 1024},
                                                                               {"mib", 1048576}}};
  const std::string text = value.get<std::string>();
  double number = -1;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string unit(end, text.data() + text.size());
  std::erase(unit, ' ');
  std::ranges::transform(unit, unit.begin(), [](unsigned char c) { return std::tolower(c); });
  const auto found = std::ranges::find(kUnits, unit, [](const auto& entry) { return entry.first; });
  if (fault != std::errc() || !(number >= 0) || found == kUnits.end())
    wrong(key, value, "bytes, as a number or like \"90kB\"");
  return {PruneTarget::Kind::kSize, number * found->second, false};
}

void add_line_rules(const Json& value, PruneOptions& options) {
  if (!value.is_array())
    wrong("layer", value, "an array of REGEX:key=value,... as --layer takes them");
  for (const Json& rule : value)
    options.rules.push_back(parse_layer_rule(read_text("layer", rule)));
}

// Sets the option that `given` names; refuses unknown keys.
void read_key(const std::string& given, const Json& value, PruneOptions& options) {
  std::string key = given;
  std::ranges::replace(key, '-', '_');
  if (key == "sparsity") {
    options.sparsity = read_share(key, value);
  } else if (key == "target_size") {
    options.target = read_size(key, value);
  } else if (key == "no_refit") {
    options.refit = !read_bool(key, value);
  } else if (key == "layer") {
    add_line_rules(value, options);
  } else if (key == "target_latency") {
    options.target = read_target(key, value, PruneTarget::Kind::kLatency);
  } else if (key == "max_drop") {
    options.target = read_drop(key, value);
  } else if (key == "schedule") {
    options.schedule = parse_schedule(read_text(key, value));
  } else if (key == "block") {
    options.block = read_block(key, value);
  } else if (key == "nm") {
    options.nm = parse_nm(read_text(key, value));
  } else if (key == "method") {
    options.method = read_text(key, value);
  } else if (key == "scope") {
    options.scope = read_text(key, value);
  } else if (key == "diagonal") {
    options.keep_diagonal = read_diagonal(key, value);
  } else if (key == "refit") {
    options.refit = read_bool(key, value);
  } else if (key == "sequential") {
    options.sequential = read_bool(key, value);
  } else if (key == "confident") {
    options.confident = read_bool(key, value);
  } else if (key == "values") {
    options.values = read_text(key, value);
  } else if (key == "op") {
    options.select.operators = read_patterns(key, value, options.select.optional);
  } else if (key == "min_weights") {
    options.select.min_weights = read_count(key, value);
  } else if (key == "depthwise") {
    options.select.depthwise = read_bool(key, value);
  } else if (key == "keep_first_last") {
    options.select.keep_first_last = read_bool(key, value);
  } else if (key == "exclude") {
    options.select.exclude = read_patterns(key, value, options.select.optional);
  } else if (key == "force") {
    options.select.force = read_patterns(key, value, options.select.optional);
  } else if (key == "layers") {
    options.rules = read_rules(value);
  } else if (key == "seed") {
    options.seed = read_count(key, value);
  } else if (key == "profile") {
    options.profile = read_text(key, value);
  } else if (key == "index") {
    options.index = read_text(key, value);
  } else {
    refuse(fmt::format("key \"{}\" is unknown", printable(given)));
  }
}

// ---- options to Json.

void add_target(const PruneTarget& target, OrderedJson& json) {
  if (target.kind == PruneTarget::Kind::kSize) json["target_size"] = target.value;
  if (target.kind == PruneTarget::Kind::kLatency) json["target_latency"] = target.value;
  if (target.kind != PruneTarget::Kind::kDrop) return;
  json["max_drop"] = target.share ? OrderedJson(to_string(target)) : OrderedJson(target.value);
}

OrderedJson rule_json(const LayerRule& rule) {
  OrderedJson json{{"match", rule.pattern}};
  const LayerOptions& options = rule.options;
  if (options.block) json["block"] = to_string(*options.block);
  if (options.sparsity) json["sparsity"] = *options.sparsity;
  if (options.method) json["method"] = *options.method;
  if (options.nm) json["nm"] = to_string(*options.nm);
  if (!options.gate_density.empty()) json["gate_density"] = options.gate_density;
  if (options.skip) json["skip"] = true;
  if (rule.optional) json["optional"] = true;
  return json;
}

OrderedJson patterns_json(const std::vector<std::string>& patterns,
                          const std::set<std::string>& optional) {
  OrderedJson json = OrderedJson::array();
  for (const std::string& pattern : patterns) {
    if (optional.contains(pattern))
      json.push_back({{"match", pattern}, {"optional", true}});
    else
      json.push_back(pattern);
  }
  return json;
}

// All options in a fixed order; those without a default only where they are set.
OrderedJson options_json(const PruneOptions& options) {
  const SelectOptions& select = options.select;
  OrderedJson json;
  json["sparsity"] = options.sparsity;
  if (options.target) add_target(*options.target, json);
  if (options.confident) json["confident"] = true;
  if (options.schedule) json["schedule"] = to_string(*options.schedule);
  json["block"] = to_string(options.block);
  if (options.nm) json["nm"] = to_string(*options.nm);
  if (!options.method_by_cost) json["method"] = options.method;
  json["scope"] = options.scope;
  json["diagonal"] = options.keep_diagonal ? "keep" : "prune";
  json["refit"] = options.refit;
  json["sequential"] = options.sequential;
  if (!options.values.empty()) json["values"] = options.values;
  json["op"] = patterns_json(select.operators, select.optional);
  json["min_weights"] = select.min_weights;
  json["depthwise"] = select.depthwise;
  json["keep_first_last"] = select.keep_first_last;
  json["exclude"] = patterns_json(select.exclude, select.optional);
  json["force"] = patterns_json(select.force, select.optional);
  json["layers"] = OrderedJson::array();
  for (const LayerRule& rule : options.rules) json["layers"].push_back(rule_json(rule));
  json["seed"] = options.seed;
  if (!options.profile.empty()) json["profile"] = options.profile;
  if (!options.index.empty()) json["index"] = options.index;
  return json;
}

// Names from a file may hold anything; what is no UTF-8 is written as U+FFFD.
std::string text_of(const OrderedJson& json) {
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

}  // namespace

PruneOptions read_recipe(std::string_view text) { return read_recipe(text, PruneOptions{}); }

PruneOptions read_recipe(std::string_view text, const PruneOptions& base,
                         const std::set<std::string>& others) {
  const Json json = parse_strictly(text);
  if (!json.is_object())
    refuse(fmt::format("the top level is {}, expected an object", kind_of(json)));
  PruneOptions options = base;
  try {
    for (const auto& [key, value] : json.items()) {
      if (!others.contains(key)) read_key(key, value, options);
    }
    check_options(options);
  } catch (const Error& error) {  // a bad value of an option is a bad file here
    refuse(error.what());
  }
  return options;
}

std::string recipe_json(const PruneOptions& options) { return text_of(options_json(options)); }

}  // namespace espalier
