#include "lib/verify/model_runner.h"

#include <algorithm>

#include "lib/ops/default_inputs.h"
#include "lib/verify/input_names.h"

namespace espalier {
namespace {

std::map<std::string, std::string> outputs_back(const Model& model, const Model& reference) {
  std::map<std::string, std::string> result;
  for (const auto& [from, to] :
       match_names(output_names(reference), output_names(model), "outputs"))
    result.emplace(to, from);
  return result;
}

// Inputs that a feed may leave out in one model are ordinary ones in another, whose format has no
// defaults.
std::map<std::string, std::string> matched_inputs(const Model& reference, const Model& model) {
  const std::vector<std::string> from = input_names(reference), to = input_names(model);
  if (from.size() == to.size()) return match_names(from, to, "inputs");
  return match_names(kept_input_names(reference), kept_input_names(model), "inputs");
}

// What the reference has a default for and the model has not, by the model's names.
Feed lacking_defaults(const Model& model, const Model& reference,
                      const std::map<std::string, std::string>& inputs) {
  Feed result;
  const std::vector<std::string> needed = input_names(model);
  for (const ValueId id : default_inputs(reference.graph)) {
    const auto own = inputs.find(reference.graph.values[id].name);
    if (own != inputs.end() && std::ranges::count(needed, own->second) != 0)
      result.emplace(own->second, dense_of(reference.graph.weights.at(id)));
  }
  return result;
}

// States in the model's own names.
std::map<std::string, std::string> own_states(const DataSet& data,
                                              const std::map<std::string, std::string>& inputs,
                                              const std::map<std::string, std::string>& back) {
  std::map<std::string, std::string> result;
  for (const auto& [input, output] : data.states) {
    const auto own_input = inputs.find(input);
    std::string own_output = output;
    for (const auto& [own, reference] : back) {
      if (reference == output) own_output = own;
    }
    result.emplace(own_input == inputs.end() ? input : own_input->second, own_output);
  }
  return result;
}

}  // namespace

ModelRunner::ModelRunner(const Model& model, const Model& reference, const DataSet& data,
                         const ExecutorOptions& options)
    : inputs_(matched_inputs(reference, model)),
      outputs_(outputs_back(model, reference)),
      defaults_(lacking_defaults(model, reference, inputs_)),
      executor_(model, options),
      runner_(executor_, model, own_states(data, inputs_, outputs_)) {}

Feed ModelRunner::run(const Feed& feed) { return renamed(runner_.run(own_names(feed)), outputs_); }

Feed ModelRunner::own_names(const Feed& feed) const {
  Feed own = renamed(feed, inputs_);
  own.insert(defaults_.begin(), defaults_.end());
  return own;
}

}  // namespace espalier
