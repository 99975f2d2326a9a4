#include "lib/prune/options/selection_faults.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "lib/base/error.h"
#include "lib/prune/options/layer_settings.h"
#include "lib/prune/select/name_pattern.h"

namespace espalier {
namespace {

bool any_named(const std::vector<Layer>& layers, const std::string& pattern) {
  const NamePattern expression(pattern);
  return std::ranges::any_of(layers,
                             [&](const Layer& layer) { return expression.found_in(layer.weight); });
}

bool any_of_operator(const std::vector<Layer>& layers, const std::string& op) {
  return std::ranges::count(layers, op, &Layer::op) != 0;
}

// "too small: 40 weights, at least 1024 expected" is the same reason as that of 48 weights.
std::string kind_of(const std::string& reason) { return reason.substr(0, reason.find(':')); }

}  // namespace

std::vector<Unmatched> unmatched_patterns(const std::vector<Layer>& layers,
                                          const PruneOptions& options) {
  const SelectOptions& select = options.select;
  std::vector<Unmatched> result;
  const auto look_at = [&](const char* option, const std::vector<std::string>& texts,
                           const auto& matches) {
    for (const std::string& text : texts) {
      if (!select.optional.contains(text) && !matches(layers, text))
        result.push_back({option, text});
    }
  };
  look_at("op", select.operators, any_of_operator);
  look_at("exclude", select.exclude, any_named);
  look_at("force", select.force, any_named);
  for (const LayerRule& rule : options.rules) {
    if (!rule.optional && !any_named(layers, rule.pattern))
      result.push_back({"layer", rule.pattern});
  }
  return result;
}

std::vector<Layer> layers_with_reasons(const Model& model, const PruneOptions& options) {
  std::vector<Layer> layers = select_layers(model, options.select);
  const std::vector<LayerSettings> settings = layer_settings(layers, options);
  for (size_t i = 0; i < layers.size(); ++i)
    layers[i].left_out = left_out_reason(layers[i], settings[i]);
  return layers;
}

std::string why_none_is_selected(const std::vector<Layer>& layers) {
  if (layers.empty()) return "no operator of it multiplies by a constant weight";
  struct Count {
    std::string reason;  // of the first such layer
    size_t layers = 0;
  };
  std::map<std::string, std::map<std::string, Count>> by_operator;
  for (const Layer& layer : layers) {
    if (layer.left_out.empty()) return {};
    Count& count = by_operator[layer.op][kind_of(layer.left_out)];
    if (count.layers++ == 0) count.reason = layer.left_out;
  }
  std::vector<std::string> parts;
  for (const auto& [op, reasons] : by_operator) {
    for (const auto& [kind, count] : reasons) {
      const std::string more =
          count.layers == 1 ? "" : fmt::format(" (and {} more)", count.layers - 1);
      parts.push_back(fmt::format("{}: {}{}", printable(op), printable(count.reason), more));
    }
  }
  return fmt::format("{}", fmt::join(parts, "; "));
}

}  // namespace espalier
