#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/base/thread_pool.h"
#include "lib/ir/model.h"

namespace espalier {

/// Which weights behind DequantizeLinear become packed ones.
enum class Integers {
  kAll,
  kIfSmaller,  ///< those that take fewer bytes than the integers
};

/// The model with weights that are made of constants anew in each run (Slice, Concat, Unsqueeze,
/// Transpose, ... of stored weights, also inside branches) as constants of their own, so that they
/// can be looked at, pruned and written. The model as it was where there are none.
///
/// A weight is uncovered where nothing grows: all float constants that it is made of are not read
/// any more afterwards and go, and are together no smaller than it; so nothing is expanded from
/// integers or narrower types, and no weight that others share is doubled. Equal weights of several
/// branches become one. It lies in the outermost graph and has the name of the largest constant that
/// it is made of, or another that begins with it; a mask of zeros and ones gives its name to nothing
/// else (weight_orig, not weight_mask). Packed weights are left alone.
///
/// A weight that its operator reads from DequantizeLinear of constant i8 or u8 becomes a packed one
/// of i8 values with these scales, where that decodes to the same f32 to the bit: integers less their
/// zero point from -127 to 127, a scale for all or one for each output. Zeros are at the zero point.
///
/// Cost    results take 256 MiB at most; what would pass that stays as it is.
/// Errors  Fault::kUnsupported where subgraphs are nested too deep.
Model with_uncovered_weights(Model model, ThreadPool& pool, Integers integers = Integers::kAll);

/// The same, with the names of what was uncovered; nullopt where nothing was.
struct UncoveredModel {
  struct Part {
    std::string name, weight;  ///< of the constant that is gone, and of what was made of it
    Shape shape;
    DType dtype;
  };
  Model model;
  std::vector<std::string> weights;  ///< in its outermost graph
  std::vector<Part> parts;           ///< the constants that these were made of
};
std::optional<UncoveredModel> uncover_weights(const Model& model, ThreadPool& pool,
                                              Integers integers = Integers::kAll);

}  // namespace espalier
