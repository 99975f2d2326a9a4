#pragma once

#include <string>
#include <vector>

#include "lib/search/pruned_weights.h"

namespace espalier {

/// In which types the values of a model's layers may be stored, from the narrowest to their own, by
/// what each layer in i8 changes of the outputs (`--values auto`).
///
/// Layers  those that are pruned, and of those that are left out the ones that an option of the
///         selection leaves dense (too small, first and last, another operator) and tables of
///         Gather. What is excluded by name or skipped by a rule, fixed transforms and depthwise
///         convolutions stay as they are.
/// Source  docs/algorithms/values.md, "auto".
class ValueTypes {
 public:
  /// Runs the unpruned model with each layer (of more than 64, each of 64 groups of neighbours)
  /// alone in i8, and with all in f16, on a few feeds of `data.calib`, else of `data.others`.
  /// Errors  those of the runs.
  ValueTypes(const Model& model, const PruneOptions& options, const PruneData& data,
             ThreadPool& pool);

  /// Level 0 is i8 wherever that is smaller. The next ones leave the layers that lose most for what
  /// they save to f16, the last one leaves every weight its own type.
  size_t levels() const { return types_.size(); }
  /// Sets `values` of the plan's layers, and the block of layers that are left out.
  void set(size_t level, PrunePlan& plan) const;
  /// Feeds on which the outputs were compared.
  size_t feeds() const { return feeds_; }

 private:
  struct Choice {
    size_t layer;  ///< in data.layers
    bool pruned;
    BlockShape block;          ///< of i8 and f16 values
    std::string narrow, wide;  ///< i8, and what comes next
    uint64_t saved = 0;        ///< bytes of narrow less than of wide, nothing pruned
    double distance = 0;       ///< of the outputs with narrow values
  };

  void add_choices(const Model& model, const PruneOptions& options,
                   const std::vector<Layer>& layers);
  void scan(const Model& model, const PruneOptions& options, const PruneData& data,
            ThreadPool& pool);
  void make_levels();

  std::vector<Choice> choices_;
  std::vector<std::vector<std::string>> types_;  ///< level -> type of each choice; "" = its own
  size_t feeds_ = 0;
};

/// How many layers of a plan are stored in which type: "3 i8, 1 f16, 1 f32".
std::string stored_types(const Model& packed, const std::vector<LayerPlan>& layers);

}  // namespace espalier
