#include "lib/prune/score/statistics_fit.h"

#include <fmt/format.h>

#include "lib/base/error.h"

namespace espalier {

void check_fit(const Model& model, const Layer& layer, const LayerStatistics& found) {
  if (found.fingerprint != fingerprint_of(weight_of(model, layer))) {
    throw Error(Fault::kFormat,
                fmt::format("statistics of weight {} were collected with another model",
                            printable(layer.weight)));
  }
  for (const InputMoments& input : found.inputs) {
    if (input.mean.count() == layer.fold.cols && input.first_part < layer.fold.parts) continue;
    throw Error(Fault::kFormat,
                fmt::format("statistics of weight {} are of {} inputs, it has {}",
                            printable(layer.weight), input.mean.count(), layer.fold.cols));
  }
}

}  // namespace espalier
