#pragma once

#include "lib/passes/pass.h"

namespace espalier {

/// The model with GRU, LSTM and RNN in the place of each Loop and Scan whose body is a step of one,
/// however it is spelled (lib/ops/recurrent_step.h): loops that count the steps of a sequence, with
/// weights that are constants of any of the graphs, or states that are handed on unchanged. Weights
/// have the names of the constants that they are made of, and are constants of the graph that the
/// loop is in; what only the loop read is gone. Other loops read weights that they only hand on from
/// the graph around, so that their products are layers like any other. The model as it was where
/// there are none.
/// Errors  Fault::kUnsupported where subgraphs are nested too deep.
Model with_recurrent_layers(Model model, ThreadPool& pool);

/// Whether the model has Loop or Scan nodes, here or in subgraphs.
bool has_loops(const Graph& graph);

}  // namespace espalier
