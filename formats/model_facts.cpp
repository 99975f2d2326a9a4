#include "formats/model_facts.h"

#include "formats/onnx/onnx_model.h"

namespace espalier {

ModelFacts facts_of(const Model& model) {
  if (model.origin.format == "onnx") return onnx_facts(model);
  return {};
}

}  // namespace espalier
