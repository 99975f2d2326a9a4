#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/ir/model.h"

namespace espalier {

/// The model of a file with the weights that its operators make of constants as constants of their
/// own (lib/passes/uncover_weights.h): for commands that look for weights.
Model read_uncovered(const std::filesystem::path& path, size_t threads);

/// Every weight of the model with its full name ("node/branch/name" in subgraphs), in graph order.
/// The pointers live as long as the model.
std::vector<std::pair<std::string, const Weight*>> named_weights(const Model& model);

/// The dense elements, decoded where packed.
/// The weights of two models that have the same name, or names that a format with narrower
/// identifiers makes equal. Where one of the models is NNEF, which keeps no names of literals,
/// integers and single numbers that are in one model alone are left out.
struct WeightPairs {
  struct Pair {
    std::string name;  ///< in a
    const Weight *a = nullptr, *b = nullptr;
  };
  std::vector<Pair> pairs;
  std::vector<std::string> only_a, only_b;
};
WeightPairs pair_weights(const Model& a, const Model& b);

Tensor dense_of(const Weight& weight);

/// What a file of that profile (formats/format.h) holds of it, headers apart.
uint64_t stored_bytes(const Weight& weight, std::string_view profile = "");

/// Bit for bit; with `zero_signs_free`, zeros of either sign are equal (weights with a diagonal
/// kept apart).
bool equal_elements(const Tensor& a, const Tensor& b, bool zero_signs_free);

/// A packed weight against the dense one that it was made of, bit for bit: the dense values as
/// those of the packed type are (narrower floats rounded, i8 to multiples of its scale). What may
/// differ are negative zeros that packing makes zeros: how many; nothing where anything else does.
std::optional<size_t> lost_zero_signs(const SparseMatrix& packed, const Tensor& dense);

/// The weights of `packed` against those of `masked` (the same graph with dense weights).
struct Packing {
  std::vector<std::string> wrong;  ///< names of those that do not decode to the dense ones
  size_t zero_signs = 0;           ///< negative zeros that are written as zeros
};
Packing check_packing(const Model& masked, const Model& packed);

/// Weights of a model that was written and read back, against those that were to be written.
struct ReadBack {
  size_t compared = 0, total = 0;  ///< total: weights to be written; others go by another name
  std::vector<std::string> wrong;
};
ReadBack compare_read_back(const Model& wanted, const Model& read);

bool any_packed(const Model& model);
/// Whether one of those has values of i8, so that the kernels round its inputs to 8 bits.
bool any_int8(const Model& model);

}  // namespace espalier
