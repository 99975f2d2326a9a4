#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/ir/model.h"

namespace espalier {

/// What some parts of a weight were multiplied with during calibration: samples x of as many
/// elements as the part has columns. Parts that share their input (gates of a GRU) share these.
struct InputMoments {
  size_t first_part = 0, parts = 1;
  uint64_t samples = 0;
  Tensor second;  ///< f64 [cols, cols]: mean of x x^T
  Tensor mean;    ///< f64 [cols]
  /// Where the samples are a changed model's, those of the unchanged one beside them, x0; else
  /// empty. No part of a file of statistics.
  Tensor cross = {};          ///< f64 [cols, cols]: mean of x0 x^T
  Tensor original_mean = {};  ///< f64 [cols]: mean of x0
};

/// Of one weight, over all its readers.
struct LayerStatistics {
  std::string weight;        ///< its name, with the subgraph's prefix
  uint64_t fingerprint = 0;  ///< of the weight, as fingerprint_of() gives it
  std::vector<InputMoments> inputs;

  /// Null where the part was never multiplied.
  const InputMoments* of_part(size_t part) const;
};

struct Statistics {
  std::vector<LayerStatistics> layers;

  const LayerStatistics* find(std::string_view weight) const;
};

/// Tells weights of the same name in different models apart: FNV-1a of its elements' bytes.
uint64_t fingerprint_of(const Weight& weight);

/// A symmetric matrix of f64, of which the lower triangle stays in memory where it is large: the
/// whole is made when it is looked at.
Tensor half_kept(Tensor symmetric);

/// Moments of all samples of both.
/// Errors  Fault::kFormat naming the weight: the two are not of the same weight.
Statistics merged(const Statistics& a, const Statistics& b);

}  // namespace espalier
