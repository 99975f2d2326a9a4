#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lib/ir/model.h"

namespace espalier {

struct SelectOptions {
  std::vector<std::string> operators;  ///< empty: every operator with prunable weights
  size_t min_weights = 1024;
  bool depthwise = false;                   ///< depthwise convolutions too
  bool keep_first_last = false;             ///< first and last layer left dense
  std::vector<std::string> exclude, force;  ///< RE2 patterns searched in the weight's name
  std::set<std::string> optional;           ///< of all these, those that may match nothing
};

/// One prunable weight. A weight that several nodes or inputs read appears once, with the first of
/// them.
struct Layer {
  std::string node, op;  ///< of the first reader
  std::string weight;    ///< name with the subgraph's prefix ("node/branch/name")
  std::string prefix;    ///< the graph it lies in, as for_each_graph gives it
  ValueId value = 0;     ///< in that graph
  size_t input = 0;      ///< which input of the node
  Shape shape;
  Fold fold;
  DType dtype = DType::kF32;
  bool square = false;   ///< a recurrent matrix with square parts: its diagonals can be kept apart
  std::string left_out;  ///< why it is not pruned; empty where it is
  size_t weights() const { return fold.count(); }
};

/// Whether it is left out because it has fewer weights than SelectOptions::min_weights.
bool is_too_small(const Layer& layer);

/// Gates of a GRU, LSTM or RNN, 1 for any other operator.
size_t gates_of(const Layer& layer);

/// Every weight that folds to matrices, in graph order, and of those left out the reason: too
/// small, of an operator not asked for, depthwise, first or last, excluded, a fixed transform by
/// its name (STFT bases, mel filters, windows, DCT, positional tables), integer or f64, an index
/// table of Gather, computed at run time (silero_vad_16k_op15's LSTM).
std::vector<Layer> select_layers(const Model& model, const SelectOptions& options);

/// The weight of a layer, and the model with some weights replaced. `weights` is parallel to
/// `layers`; nothing = unchanged.
const Weight& weight_of(const Model& model, const Layer& layer);
/// Null for a layer whose weight is computed at run time, or is an input of the model.
const Weight* stored_weight(const Model& model, const Layer& layer);
Model with_weights(Model model, const std::vector<Layer>& layers,
                   std::vector<std::optional<std::variant<Tensor, SparseMatrix>>> weights);

}  // namespace espalier
