#pragma once

#include <functional>
#include <vector>

#include "lib/calibrate/collect.h"

namespace espalier {

/// Runs the unchanged and the changed model on each calibration input, one after the other, tells
/// each its observer and calls `fed` behind each pair.
using PairedPass = std::function<void(ProductObserver& unchanged, ProductObserver& changed,
                                      const std::function<void()>& fed)>;

/// Moments of what each of `layers` is multiplied with in `changed`, and with what in `unchanged`
/// (InputMoments::cross): samples of both models lie side by side. Fingerprints are those of
/// `unchanged`'s weights.
///
/// Memory  16 cols^2 bytes for each input, and the samples of one feed.
/// Errors  Fault::kUnsupported: a layer that has another number of samples in the other model.
Statistics collect_paired(const Model& unchanged, const Model& changed,
                          const std::vector<Layer>& layers, const PairedPass& pass,
                          const CollectOptions& options);

}  // namespace espalier
