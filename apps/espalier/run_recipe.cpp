#include "apps/espalier/run_recipe.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

namespace espalier {
namespace {

using Json = nlohmann::ordered_json;

template <typename T>
struct Key {
  std::string_view name;
  T& (*of)(PruneArgs& args);
};

constexpr std::array<Key<std::string>, 15> kTexts{
    {{"calib", [](PruneArgs& a) -> std::string& { return a.calib; }},
     {"eval", [](PruneArgs& a) -> std::string& { return a.eval; }},
     {"inputs", [](PruneArgs& a) -> std::string& { return a.data.inputs; }},
     {"labels", [](PruneArgs& a) -> std::string& { return a.data.labels; }},
     {"metric", [](PruneArgs& a) -> std::string& { return a.data.metric; }},
     {"metric-cmd", [](PruneArgs& a) -> std::string& { return a.data.metric_command; }},
     {"assert-drop", [](PruneArgs& a) -> std::string& { return a.assert_drop; }},
     {"mask-in", [](PruneArgs& a) -> std::string& { return a.mask_in; }},
     {"mask-out", [](PruneArgs& a) -> std::string& { return a.mask_out; }},
     {"rewind", [](PruneArgs& a) -> std::string& { return a.rewind; }},
     {"machine", [](PruneArgs& a) -> std::string& { return a.machine; }},
     {"for", [](PruneArgs& a) -> std::string& { return a.write.reader; }},
     {"effort", [](PruneArgs& a) -> std::string& { return a.effort; }},
     {"cache", [](PruneArgs& a) -> std::string& { return a.cache; }},
     {"mask-tokens", [](PruneArgs& a) -> std::string& { return a.data.mask_tokens; }}}};

constexpr std::array<Key<std::vector<std::string>>, 3> kLists{
    {{"state", [](PruneArgs& a) -> std::vector<std::string>& { return a.data.states; }},
     {"fill", [](PruneArgs& a) -> std::vector<std::string>& { return a.data.fills; }},
     {"input-shape", [](PruneArgs& a) -> std::vector<std::string>& { return a.write.shapes; }}}};

constexpr std::array<Key<bool>, 2> kFlags{
    {{"no-verify", [](PruneArgs& a) -> bool& { return a.no_verify; }},
     {"keep-io-names", [](PruneArgs& a) -> bool& { return a.write.keep_io_names; }}}};

// Numbers that count where the line has left them at their defaults.
struct Number {
  std::string_view name;
  bool bytes;
  uint64_t least;
  void (*set)(PruneArgs& args, uint64_t value);
};

constexpr std::array<Number, 5> kNumbers{
    {{"batch", false, 1,
      [](PruneArgs& a, uint64_t value) {
        if (a.data.batch == 0) a.data.batch = static_cast<size_t>(value);
      }},
     {"threads", false, 0,
      [](PruneArgs& a, uint64_t value) {
        if (a.common.threads == 0) a.common.threads = value;
      }},
     {"at-step", false, 0,
      [](PruneArgs& a, uint64_t value) {
        if (!a.at_step) a.at_step = value;
      }},
     {"memory", true, 0,
      [](PruneArgs& a, uint64_t value) {
        if (!a.write.memory) a.write.memory = value;
      }},
     {"calib-memory", true, 0, [](PruneArgs& a, uint64_t value) {
        if (a.calib_memory == PruneArgs().calib_memory) a.calib_memory = value;
      }}}};

[[noreturn]] void wrong(const std::string& key, const char* expected) {
  throw Error(Fault::kFormat, fmt::format("\"{}\": expected {}", key, expected));
}

template <typename Keys>
auto* find(const Keys& keys, const std::string& name) {
  const auto found =
      std::ranges::find(keys, std::string_view(name), [](const auto& key) { return key.name; });
  return found == keys.end() ? nullptr : &*found;
}

std::vector<std::string> list_of(const std::string& key, const Json& value) {
  constexpr auto kExpected = "an array of strings";
  if (!value.is_array()) wrong(key, kExpected);
  std::vector<std::string> list;
  for (const Json& element : value) {
    if (!element.is_string()) wrong(key, kExpected);
    list.push_back(element);
  }
  return list;
}

// A number, or bytes spelled as on the command line.
uint64_t number_of(const Number& key, const Json& value) {
  const std::string name(key.name);
  if (key.bytes && value.is_string()) {
    std::string text = value;
    uint64_t bytes = 0;
    const bool known = CLI::AsSizeValue(true)(text).empty();
    const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), bytes);
    if (!known || fault != std::errc() || end != text.data() + text.size())
      wrong(name, "bytes, as a number or like \"2GiB\"");
    return bytes;
  }
  if (!value.is_number_integer() || value < key.least ||
      value > (int64_t{1} << (key.bytes ? 62 : 30)))
    wrong(name, key.bytes ? "bytes, as a number or like \"2GiB\""
                          : "a whole number in the range of the option");
  return value;
}

void read_curve(const Json& value, PruneArgs& args) {
  constexpr auto kExpected = "an array of numbers from 0 to 1";
  if (!value.is_array()) wrong("curve", kExpected);
  std::vector<double> levels;
  for (const Json& level : value) {
    if (!level.is_number() || !(level >= 0.0 && level <= 1.0)) wrong("curve", kExpected);
    levels.push_back(level);
  }
  if (args.curve.empty()) args.curve = levels;
}

void read_key(const std::string& name, const Json& value, PruneArgs& args) {
  if (const auto* text = find(kTexts, name)) {
    if (!value.is_string()) wrong(name, "a string");
    if (name == "effort" && value != "fast" && value != "default" && value != "best")
      wrong(name, "fast, default or best");
    if (text->of(args).empty()) text->of(args) = value;
  } else if (const auto* list = find(kLists, name)) {
    const std::vector<std::string> values = list_of(name, value);
    if (list->of(args).empty()) list->of(args) = values;
  } else if (const auto* flag = find(kFlags, name)) {
    if (!value.is_boolean()) wrong(name, "true or false");
    flag->of(args) |= value.get<bool>();
  } else if (const auto* number = find(kNumbers, name)) {
    number->set(args, number_of(*number, value));
  } else if (name == "curve") {
    read_curve(value, args);
  }
}

}  // namespace

const std::set<std::string>& run_keys() {
  static const std::set<std::string> keys = [] {
    std::set<std::string> names{"curve"};
    for (const auto& key : kTexts) names.emplace(key.name);
    for (const auto& key : kLists) names.emplace(key.name);
    for (const auto& key : kNumbers) names.emplace(key.name);
    for (const auto& key : kFlags) names.emplace(key.name);
    return names;
  }();
  return keys;
}

void read_run_keys(std::string_view text, PruneArgs& args) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return;  // read_recipe() says what is wrong with it
  for (const auto& [key, value] : json.items()) read_key(key, value, args);
}

std::string with_run_keys(const std::string& recipe, const PruneArgs& given) {
  PruneArgs args = given;
  Json json = Json::parse(recipe);
  for (const auto& key : kTexts) {
    if (key.name != "mask-out" && !key.of(args).empty()) json[std::string(key.name)] = key.of(args);
  }
  for (const auto& key : kLists) {
    if (!key.of(args).empty()) json[std::string(key.name)] = key.of(args);
  }
  for (const auto& key : kFlags) {
    if (key.of(args)) json[std::string(key.name)] = true;
  }
  if (args.data.batch != 0) json["batch"] = args.data.batch;
  if (args.write.memory) json["memory"] = *args.write.memory;
  if (args.calib_memory != PruneArgs().calib_memory) json["calib-memory"] = args.calib_memory;
  if (!args.curve.empty()) json["curve"] = args.curve;
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace espalier
