#include "lib/prune/options/layer_settings.h"

#include <fmt/format.h>

#include "lib/prune/options/layer_rule.h"
#include "lib/prune/select/name_pattern.h"

namespace espalier {
namespace {

void take_over(const LayerRule& rule, const PruneOptions& options, LayerSettings& settings) {
  const LayerOptions& given = rule.options;
  if (given.block || given.sparsity || !given.gate_density.empty()) {
    if (settings.nm) settings.block = options.block;
    settings.nm.reset();
  }
  if (given.block) settings.block = *given.block;
  if (given.method) {
    settings.method = *given.method;
    settings.method_by_cost = false;
  }
  if (given.sparsity) {
    settings.sparsity = *given.sparsity;
    settings.gate_density.clear();
  }
  if (!given.gate_density.empty()) settings.gate_density = given.gate_density;
  if (given.nm) {
    settings.nm = given.nm;
    settings.gate_density.clear();
  }
  settings.own_target |= given.sparsity || given.nm || !given.gate_density.empty();
  if (given.skip) settings.skipped_by = rule.pattern;
}

double mean(const std::vector<double>& numbers) {
  double sum = 0;
  for (const double number : numbers) sum += number;
  return sum / static_cast<double>(numbers.size());
}

void finish(const Layer& layer, LayerSettings& settings) {
  if (settings.nm) {
    settings.block = {1, 1};
    settings.sparsity = 1 - static_cast<double>(settings.nm->keep) / settings.nm->of;
  }
  if (settings.gate_density.empty() || !layer.left_out.empty()) return;
  const size_t gates = gates_of(layer);
  if (gates != settings.gate_density.size()) {
    throw Error(Fault::kUsage,
                fmt::format("{}: {} gate densities given, a {} has {}", printable(layer.weight),
                            settings.gate_density.size(), printable(layer.op), gates));
  }
  settings.sparsity = 1 - mean(settings.gate_density);
}

}  // namespace

std::string left_out_reason(const Layer& layer, const LayerSettings& settings) {
  if (!layer.left_out.empty() || settings.skipped_by.empty()) return layer.left_out;
  return fmt::format("skipped by layer rule \"{}\"", settings.skipped_by);
}

std::vector<LayerSettings> layer_settings(const std::vector<Layer>& layers,
                                          const PruneOptions& options) {
  check_options(options);
  LayerSettings common;
  common.block = options.block;
  common.nm = options.nm;
  common.sparsity = options.sparsity;
  common.method = options.method;
  common.method_by_cost = options.method_by_cost && options.method == "obs";
  common.own_target = options.nm.has_value();
  std::vector<LayerSettings> result(layers.size(), common);
  for (const LayerRule& rule : options.rules) {
    const NamePattern pattern(rule.pattern);
    bool matched = false;
    for (size_t i = 0; i < layers.size(); ++i) {
      if (!pattern.found_in(layers[i].weight)) continue;
      matched = true;
      take_over(rule, options, result[i]);
    }
    if (!matched && !rule.optional) {
      throw Error(Fault::kUsage, fmt::format("layer rule \"{}\" matches no prunable weight",
                                             printable(rule.pattern)));
    }
  }
  for (size_t i = 0; i < layers.size(); ++i) finish(layers[i], result[i]);
  return result;
}

}  // namespace espalier
