#include <fmt/format.h>

#include <algorithm>

#include "lib/ir/paired_names.h"
#include "lib/ops/default_inputs.h"
#include "lib/verify/data.h"
#include "lib/verify/input_names.h"

namespace espalier {

std::vector<std::string> input_names(const Model& model) {
  std::vector<std::string> names;
  for (const ValueId id : model.graph.inputs) {
    if (!model.graph.weights.contains(id)) names.push_back(model.graph.values[id].name);
  }
  return names;
}

std::vector<std::string> all_input_names(const Model& model) {
  std::vector<std::string> names;
  for (const ValueId id : model.graph.inputs) names.push_back(model.graph.values[id].name);
  return names;
}

std::vector<std::string> kept_input_names(const Model& model) {
  const std::vector<ValueId> kept = kept_default_inputs(model.graph);
  std::vector<std::string> names;
  for (const ValueId id : model.graph.inputs) {
    if (!model.graph.weights.contains(id) || std::ranges::count(kept, id) != 0)
      names.push_back(model.graph.values[id].name);
  }
  return names;
}

std::vector<std::string> output_names(const Model& model) {
  std::vector<std::string> names;
  for (const ValueId id : model.graph.outputs) names.push_back(model.graph.values[id].name);
  return names;
}

std::map<std::string, std::string> match_names(const std::vector<std::string>& from,
                                               const std::vector<std::string>& to,
                                               const std::string& what) {
  std::map<std::string, std::string> result;
  const bool by_name = std::ranges::all_of(
      from, [&](const std::string& name) { return std::ranges::count(to, name) != 0; });
  if (!by_name && from.size() != to.size()) {
    throw Error(Fault::kFormat, fmt::format("the models cannot be compared: {} {} and {}",
                                            from.size(), what, to.size()));
  }
  for (size_t i = 0; i < from.size(); ++i) result.emplace(from[i], by_name ? from[i] : to[i]);
  return result;
}

Feed renamed(const Feed& feed, const std::map<std::string, std::string>& names) {
  Feed result;
  for (const auto& [name, tensor] : feed) {
    const auto found = names.find(name);
    result.emplace(found == names.end() ? name : found->second, tensor);
  }
  return result;
}

bool same_name_mangled(const std::string& a, const std::string& b) {
  return mangled_name(a) == mangled_name(b);
}

}  // namespace espalier
