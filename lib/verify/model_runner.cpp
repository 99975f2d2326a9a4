#include "lib/verify/model_runner.h"

namespace espalier {
namespace {

std::map<std::string, std::string> outputs_back(const Model& model, const Model& reference) {
  std::map<std::string, std::string> result;
  for (const auto& [from, to] :
       match_names(output_names(reference), output_names(model), "outputs"))
    result.emplace(to, from);
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
    : inputs_(match_names(input_names(reference), input_names(model), "inputs")),
      outputs_(outputs_back(model, reference)),
      executor_(model, options),
      runner_(executor_, model, own_states(data, inputs_, outputs_)) {}

Feed ModelRunner::run(const Feed& feed) { return renamed(runner_.run(own_names(feed)), outputs_); }

}  // namespace espalier
