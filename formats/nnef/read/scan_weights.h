#pragma once

#include <optional>
#include <vector>

#include "formats/nnef/read/scan_step.h"

namespace espalier::nnef {

/// What a recurrent operator is given in the place of a scan.
struct ScanWeights {
  TensorRef x, w, r;
  std::optional<TensorRef> b;
  std::vector<TensorRef> taken_in;  ///< what only the scan read: products and biases before it
};

/// Weights and biases of all gates as ONNX has them, [gates * H, inputs] and [2 * gates * H]. The
/// product with x may be in the body or before the scan. Packed weights stay packed where they are
/// those of all gates, in order. NotTranslated where weights are no constants.
ScanWeights scan_weights(const Call& call, const Scan& scan, const ScanStep& found);

}  // namespace espalier::nnef
