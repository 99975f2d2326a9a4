#pragma once

#include <optional>
#include <string>

#include "lib/base/thread_pool.h"
#include "lib/ir/model.h"
#include "lib/prune/select/selection.h"
#include "lib/sparse/block_shape.h"

namespace espalier {

/// How zeros that are there already are packed, and in which type; no other value changes.
struct ConvertOptions {
  enum class Pack {
    kAuto,   ///< per weight the smallest of pack_smallest, packed weights as they are
    kBlock,  ///< `block`, where that is smaller than dense
    kKeep,   ///< weights stay as they are, dense or packed
    kDense   ///< packed weights are decoded
  } pack = Pack::kAuto;
  BlockShape block{16, 1};
  std::string values;                ///< of packed weights: f32, f16, bf16, i8; "" = as they are
  std::optional<double> zero_below;  ///< with_zeros_below() comes first
};

/// All that convert may pack, however small.
SelectOptions packable();

/// The model with zeros by ConvertOptions::zero_below, and that packed.
struct Converted {
  Model zeroed, packed;
};

/// Errors  those of pack_existing() and with_packed_values().
Converted converted(const Model& model, const ConvertOptions& options, ThreadPool& pool);

}  // namespace espalier
