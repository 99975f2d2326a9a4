#pragma once

#include <functional>
#include <vector>

#include "lib/calibrate/paired.h"
#include "lib/prune/choose/scored_plan.h"
#include "lib/prune/refit/refit.h"

namespace espalier {

/// Layers of the main graph that are not left out, but for recurrent matrices, by how many others
/// lie before them at most: no layer's inputs depend on another of its stage. Indices into
/// `layers`, in order.
std::vector<std::vector<size_t>> stages_of(const Graph& graph, const std::vector<Layer>& layers);

/// The model without what none of `layers` needs to be multiplied; outputs in `keep` stay.
Model cut_behind(const Model& model, const std::vector<Layer>& layers,
                 const std::vector<std::string>& keep);

/// How to run an unchanged and a changed model side by side.
using MakePairedPass = std::function<PairedPass(const Model& unchanged, const Model& changed)>;

struct SequentialOptions {
  CollectOptions collect;
  std::vector<std::string> states;  ///< outputs that later inputs depend on: --state
};

/// Goes through the layers in the order of the run: each is chosen and refitted to what it is
/// multiplied with behind the layers that are pruned already, so that its outputs come near to the
/// unchanged model's. `plan` gets the new masks (with as many zeros in each layer as before),
/// `result` the weights; it holds what refit() made of the plan. Without `scored` masks stay.
/// Layers in subgraphs and recurrent matrices stay as they are in `result`. A layer that is too small
/// to be pruned is refitted where it lies behind pruned ones and none behind it; its left_out says so.
/// Cost    two runs up to each stage, over all inputs.
/// Errors  as collect_paired.
void prune_in_order(const Model& model, const ScoredPlan* scored, PrunePlan& plan, Refitted& result,
                    const MakePairedPass& make_pass, const SequentialOptions& options,
                    ThreadPool& pool);

}  // namespace espalier
