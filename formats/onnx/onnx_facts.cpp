#include <fmt/format.h>

#include <algorithm>

#include "formats/onnx/onnx_model.h"
#include "formats/onnx/proto.h"

namespace espalier {

ModelFacts onnx_facts(const Model& model) {
  ModelFacts facts;
  pb::ModelProto frame;  // all but the graph
  if (!frame.ParseFromString(model.origin.extra)) return facts;
  facts.version = fmt::format("IR {}", frame.ir_version());
  facts.producer = frame.producer_name();
  if (!frame.producer_version().empty())
    facts.producer += (facts.producer.empty() ? "" : " ") + frame.producer_version();
  for (const auto& set : frame.opset_import()) {
    facts.opsets.emplace_back(set.domain().empty() ? "ai.onnx" : set.domain(), set.version());
  }
  std::ranges::sort(facts.opsets);
  if (!frame.doc_string().empty()) facts.metadata.emplace_back("doc_string");
  if (!frame.domain().empty()) facts.metadata.emplace_back("domain");
  if (frame.model_version() != 0) facts.metadata.emplace_back("model_version");
  for (const auto& entry : frame.metadata_props()) facts.metadata.push_back(entry.key());
  return facts;
}

}  // namespace espalier
