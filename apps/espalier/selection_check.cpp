#include "apps/espalier/selection_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/nearest_name.h"
#include "lib/prune/options/layer_rule.h"
#include "lib/prune/options/selection_faults.h"
#include "lib/prune/select/selection.h"

namespace espalier {
namespace {

bool on_line(const Unmatched& fault, const LinePatterns& line) {
  const auto holds = [&](const std::vector<std::string>& texts) {
    return std::ranges::count(texts, fault.text) != 0;
  };
  if (fault.option == "op") return holds(line.operators);
  if (fault.option == "exclude") return holds(line.exclude);
  if (fault.option == "force") return holds(line.force);
  return std::ranges::any_of(line.layers, [&](const std::string& text) {
    return parse_layer_rule(text).pattern == fault.text;
  });
}

// What may have been meant: an operator or a weight of the model.
std::string suggestion(const Unmatched& fault, const std::vector<Layer>& layers) {
  std::vector<std::string> names;
  for (const Layer& layer : layers) names.push_back(fault.option == "op" ? layer.op : layer.weight);
  std::string text = fault.text;
  std::erase_if(text, [](char c) { return c == '^' || c == '$' || c == '\\'; });
  return did_you_mean(text, names);
}

// Weights that are no constants may be those that the user meant: then that is said, and no error.
bool has_unstored(const Model& model, const std::vector<Layer>& layers) {
  return std::ranges::any_of(
      layers, [&](const Layer& layer) { return stored_weight(model, layer) == nullptr; });
}

void throw_unmatched(const Unmatched& fault, const std::vector<Layer>& layers,
                     const LinePatterns& line) {
  const std::string what =
      fault.option == "op" ? "is no operator of a prunable weight" : "matches no prunable weight";
  if (on_line(fault, line)) {
    throw Error(Fault::kUsage,
                fmt::format("--{} '{}' {}{} (`espalier inspect` lists them)", fault.option,
                            printable(fault.text), what, suggestion(fault, layers)));
  }
  const std::string key = fault.option == "layer" ? "layers" : fault.option;
  throw Error(Fault::kFormat,
              fmt::format("{}: \"{}\": '{}' {}{}; expected one that does, or \"optional\": true",
                          printable(line.recipe), key, printable(fault.text), what,
                          suggestion(fault, layers)));
}

void check_any_selected(const std::vector<Layer>& layers, const std::string& file) {
  if (const std::string why = why_none_is_selected(layers); !why.empty()) {
    throw Error(Fault::kFormat,
                fmt::format("{}: no weight is selected for pruning: {}", printable(file), why));
  }
}

}  // namespace

void check_selection(const Model& model, const PruneOptions& options, const LinePatterns& line,
                     const std::string& file, bool given_masks) {
  const std::vector<Layer> all = select_layers(model, options.select);
  std::vector<Unmatched> faults = unmatched_patterns(all, options);
  const bool unstored = has_unstored(model, all);
  if (unstored) std::erase_if(faults, [](const Unmatched& fault) { return fault.option == "op"; });
  if (!faults.empty()) throw_unmatched(faults.front(), all, line);
  if (given_masks) return;
  const std::vector<Layer> layers = layers_with_reasons(model, options);
  if (!unstored) return check_any_selected(layers, file);
  if (const std::string why = why_none_is_selected(layers); !why.empty())
    warn(fmt::format("no weight is selected for pruning: {}", why));
}

void check_plan_selects(const PrunePlan& plan, const std::string& file) {
  std::vector<Layer> layers;
  for (const LayerPlan& layer : plan.layers) layers.push_back(layer.layer);
  check_any_selected(layers, file);
}

void check_max_drop(const DropLimit& limit, const MetricPair& dense, const LinePatterns& line) {
  if (!line.max_drop.empty()) return check_bare_drop(limit, dense.name, dense.a, "--max-drop");
  try {
    check_bare_drop(limit, dense.name, dense.a, "\"max_drop\"");
  } catch (const Error& error) {
    throw Error(Fault::kFormat, fmt::format("{}: {}", printable(line.recipe), error.what()));
  }
}

}  // namespace espalier
