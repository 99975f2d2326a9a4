#include "lib/prune/select/other_constants.h"

#include <fmt/format.h>

#include <set>

#include "lib/prune/select/weight_readers.h"

namespace espalier {

std::vector<OtherConstant> other_constants(const Model& model, const std::vector<Layer>& layers) {
  std::set<std::string> listed;
  for (const Layer& layer : layers) listed.insert(layer.weight);
  std::vector<OtherConstant> result;
  for (const WeightUse& use : weight_uses(model.graph)) {
    if (use.weight == nullptr || use.readings.empty()) continue;
    const Shape& shape = use.weight->shape();
    const std::string name = use.prefix + use.graph->values[use.value].name;
    if (shape.size() < 2 || element_count(shape) == 0 || listed.contains(name)) continue;
    const WeightReading& first = use.readings.front();
    const std::string op = full_op_name(*first.node);
    result.push_back(
        {name, first.label, op, shape, use.weight->dtype(),
         fmt::format("input {} of {} is not multiplied as a matrix", first.input, op)});
  }
  return result;
}

}  // namespace espalier
