#pragma once

// Inside lib/runtime only: subgraphs that a node runs many times.

#include <memory>
#include <vector>

#include "lib/runtime/graph_runner.h"

namespace espalier {

/// The subgraph of a Loop or Scan, ready to run.
struct Body {
  std::shared_ptr<GraphRunner> runner;
  size_t first_capture;                ///< step input that holds the first captured value
  std::vector<Value> inputs, outputs;  ///< as the subgraph declares them

  void bind_captures(const RunContext& context) const;
  TensorView output(size_t index) const { return runner->view(runner->outputs()[index]); }
};

/// How the node runs. The body is `node`'s, of an opset >= 7.
/// Errors  Fault::kFormat where the body does not fit the node's inputs, outputs and attributes.
Run make_loop(Body body, const Node& node);
Run make_scan(Body body, const Node& node, int64_t opset);

}  // namespace espalier
