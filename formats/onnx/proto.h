#pragma once

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <set>
#include <string_view>

namespace espalier {
namespace pb = ::ONNX_NAMESPACE;

/// Takes the inputs of these names off the graph's list. The names may be those of its initializers.
inline void erase_inputs(pb::GraphProto& graph, const std::set<std::string_view>& names) {
  auto* inputs = graph.mutable_input();
  inputs->erase(std::remove_if(inputs->begin(), inputs->end(),
                               [&](const auto& input) { return names.contains(input.name()); }),
                inputs->end());
}

}  // namespace espalier
