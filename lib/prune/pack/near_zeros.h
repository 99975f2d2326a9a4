#pragma once

#include <string>
#include <vector>

#include "lib/ir/model.h"
#include "lib/prune/select/selection.h"

namespace espalier {

/// What training left almost zero: elements of at most this share of the largest magnitude of their
/// weight.
constexpr double kNearZero = 1e-6;
/// The share of such elements from which on a weight looks pruned.
constexpr double kNearZeroShare = 0.9;

/// Whether kNearZeroShare of the weight's elements are near zero, but not all of these are zeros:
/// one in a hundred elements is not. False for packed weights, and for such as hold no floats.
bool looks_pruned(const Weight& weight);

/// The model with zeros in place of all elements of the layers' dense float weights whose magnitude
/// is at most `share` times the largest of their weight. NaN and infinities stay, and do not count.
Model with_zeros_below(const Model& model, const std::vector<Layer>& layers, double share);

/// A line about the layers whose weights look pruned, with the way to make zeros of what is near
/// zero; empty where there is none.
std::string near_zero_note(const Model& model, const std::vector<Layer>& layers);

}  // namespace espalier
