#include "lib/prune/pack/convert.h"

#include "lib/prune/pack/near_zeros.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/prune/pack/tables.h"

namespace espalier {
namespace {

Model packed_model(const Model& model, const ConvertOptions& options, ThreadPool& pool) {
  switch (options.pack) {
    case ConvertOptions::Pack::kDense:
      return decode_weights(model);
    case ConvertOptions::Pack::kKeep:
      return with_packed_values(model, options.values);
    case ConvertOptions::Pack::kBlock:
      return with_packed_values(pack_existing(model, options.block, pool), options.values);
    case ConvertOptions::Pack::kAuto:
      break;
  }
  return with_packed_values(pack_existing(model, std::nullopt, pool), options.values);
}

}  // namespace

SelectOptions packable() {
  SelectOptions everything;
  everything.min_weights = 1;
  everything.depthwise = true;
  everything.force = {""};
  return everything;
}

Converted converted(const Model& model, const ConvertOptions& options, ThreadPool& pool) {
  Model zeroed = model;
  if (options.zero_below)
    zeroed = with_zeros_below(model, select_layers(model, packable()), *options.zero_below);
  Model result = packed_model(zeroed, options, pool);
  if (options.pack != ConvertOptions::Pack::kDense)
    result = with_narrow_tables(result, select_layers(result, packable()), options.values, pool);
  return {std::move(zeroed), std::move(result)};
}

}  // namespace espalier
