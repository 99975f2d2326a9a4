#include "formats/model_facts.h"

#include "formats/format.h"

namespace espalier {

ModelFacts facts_of(const Model& model) {
  const Format* format = find_format(model.origin.format);
  return format == nullptr || format->facts == nullptr ? ModelFacts() : format->facts(model);
}

}  // namespace espalier
