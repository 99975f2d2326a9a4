#include "formats/nnef/read/producers.h"

namespace espalier::nnef {

TensorRef bare(const GraphBuilder& graph, TensorRef tensor) {
  for (const Node* node = graph.producer(tensor); node != nullptr; node = graph.producer(tensor)) {
    const bool plain = node->domain.empty() &&
                       (node->op == "Squeeze" || node->op == "Unsqueeze" || node->op == "Reshape");
    if (!plain) break;
    tensor = graph.tensor(node->inputs[0]);
  }
  return tensor;
}

const Node* producer_of(const GraphBuilder& graph, const TensorRef& tensor, std::string_view op,
                        std::string_view domain) {
  const Node* node = graph.producer(tensor);
  return node != nullptr && node->op == op && node->domain == domain ? node : nullptr;
}

}  // namespace espalier::nnef
