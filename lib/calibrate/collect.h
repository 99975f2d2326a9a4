#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lib/ops/product_observer.h"
#include "lib/prune/score/statistics.h"
#include "lib/prune/select/selection.h"

namespace espalier {

struct CollectOptions {
  size_t threads = 1;                     ///< 0: all processors
  size_t positions = 4096;                ///< places of an image that a convolution's filter is
                                          ///< sampled at, per image; evenly spaced, 0: all
  size_t memory_bytes = kDefaultMemory;   ///< for sums; what passes it is left for another pass

  static constexpr size_t kDefaultMemory = size_t{2} << 30;
  /// For layers that share a pass. Unless something else is asked for, a wide one may take more.
  size_t bytes_of_a_pass() const {
    return memory_bytes == kDefaultMemory ? size_t{512} << 20 : memory_bytes;
  }
};

/// What the sums of a layer take: an upper bound, for parts may share their input.
size_t sums_bytes(const Layer& layer);

/// Runs the model over all calibration inputs once and tells the observer.
using CalibrationPass = std::function<void(ProductObserver& observer)>;

struct Collected {
  Statistics statistics;             ///< of layers that were multiplied at all, in their order
  std::vector<std::string> refused;  ///< "weight: reason" of layers whose sums pass memory_bytes
  size_t passes = 0;
  uint64_t not_finite = 0;  ///< samples with an infinity or NaN that the layer which met most of
                            ///< them left out: one sample spoils the inputs of many layers
};

/// Moments of what each of `layers` is multiplied with. Layers that are left out are skipped.
///
/// MatMul, Gemm: the other operand's rows. Conv: each group's im2col columns. W of GRU, LSTM, RNN:
/// the layer's inputs; R: the hidden states of the direction, and of a GRU's candidate without
/// linear_before_reset the states times the reset gate. With sequence_lens, steps after the end of
/// a sequence count as samples too.
/// Sums    f32 products of 256 samples at a time, about the means of the first 256, added up in
///         f64; the same on any threads.
/// Memory  8 cols^2 bytes for each input in its pass, of which half stay; several passes where that
///         is more than bytes_of_a_pass().
Collected collect_statistics(const Model& model, const std::vector<Layer>& layers,
                             const CalibrationPass& pass, const CollectOptions& options);

}  // namespace espalier
