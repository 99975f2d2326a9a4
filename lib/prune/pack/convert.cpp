#include "lib/prune/pack/convert.h"

#include "lib/prune/pack/pack_weights.h"

namespace espalier {

Model converted(const Model& model, const ConvertOptions& options, ThreadPool& pool) {
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

}  // namespace espalier
