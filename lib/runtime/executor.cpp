#include "lib/runtime/executor.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/ops/composites.h"
#include "lib/ops/default_inputs.h"
#include "lib/ops/op_util.h"
#include "lib/ops/run_once.h"
#include "lib/runtime/graph_step.h"

namespace espalier {
namespace {

struct Input {
  Value declared;
  ValueId value = 0;
  bool bound = false;
  std::optional<Tensor> fallback;  // what a feed that leaves it out means
  TensorView view;                 // what is bound
  Tensor fed;                      // keeps bound elements alive, as operators see them
  AlignedBuffer memory;            // of input_view
};

[[noreturn]] void bad_input(const std::string& name, const std::string& what) {
  throw Error(Fault::kUsage, fmt::format("input {}: {}", printable(name), what));
}

std::string declared_shape(const Value& value) {
  std::string text;
  for (size_t i = 0; i < value.shape->size(); ++i) {
    const int64_t extent = (*value.shape)[i];
    const bool named = i < value.dimension_names.size() && !value.dimension_names[i].empty();
    text += i == 0 ? "" : ", ";
    text += extent >= 0 ? std::to_string(extent) : named ? value.dimension_names[i] : "?";
  }
  return printable("[" + text + "]");
}

void check_declared(const Value& declared, DType dtype, const Dims& dims) {
  if (declared.dtype != DType::kUnknown && declared.dtype != dtype) {
    bad_input(declared.name, fmt::format("type is {}, the model expects {}", name_of(dtype),
                                         name_of(declared.dtype)));
  }
  if (!declared.shape) return;
  bool fits = declared.shape->size() == dims.rank();
  for (size_t i = 0; fits && i < dims.rank(); ++i) {
    fits = (*declared.shape)[i] < 0 || (*declared.shape)[i] == dims[i];
  }
  if (!fits) {
    bad_input(declared.name, fmt::format("shape is {}, the model expects {}",
                                         to_string(dims.shape()), declared_shape(declared)));
  }
}

// Inputs and outputs that are no tensors, or of a type that no operator computes with.
void check_runnable(const Graph& graph, ValueId id, const char* role) {
  const Value& value = graph.values[id];
  if (value.no_tensor.empty() && (value.dtype == DType::kUnknown || has_view(value.dtype))) return;
  std::string where;
  for (size_t i = 0; i < graph.nodes.size() && where.empty(); ++i) {
    const Node& node = graph.nodes[i];
    if (std::ranges::count(node.inputs, id) + std::ranges::count(node.outputs, id) != 0) {
      where = " of " + label_of(node, i);
    }
  }
  const std::string what =
      value.no_tensor.empty()
          ? fmt::format("values of type {} are not supported", name_of(value.dtype))
          : fmt::format("is a {}, only tensors are supported", value.no_tensor);
  throw Error(Fault::kUnsupported,
              fmt::format("{} {}{}: {}", role, printable(value.name), where, what));
}

}  // namespace

namespace {

// An observer of a model whose composite operators were expanded: it knows the weights of the model
// as it was given.
class GivenWeights final : public ProductObserver {
 public:
  GivenWeights(ProductObserver& inner, const Graph& given, const Graph& expanded) : inner_(inner) {
    std::vector<const Graph*> graphs;
    for_each_graph(given,
                   [&](const Graph& graph, const std::string&) { graphs.push_back(&graph); });
    size_t next = 0;
    for_each_graph(expanded, [&](const Graph& graph, const std::string&) {
      const Graph& before = *graphs.at(next++);
      for (const auto& [value, weight] : graph.weights) {
        if (const Weight* original = find_weight(before, value)) given_[&weight] = original;
      }
    });
  }

  std::optional<size_t> watch(const Weight& weight) const override {
    const auto found = given_.find(&weight);
    return found == given_.end() ? std::nullopt : inner_.watch(*found->second);
  }
  void see(size_t number, size_t first, size_t count, const float* x, Features features, size_t k,
           size_t n) override {
    inner_.see(number, first, count, x, features, k, n);
  }

 private:
  ProductObserver& inner_;
  std::map<const Weight*, const Weight*> given_;
};

}  // namespace

// Inputs that have a default are constants until they are fed for the first time: most never are, and
// passes and operators make more of constants.
struct Executor::State {
  std::optional<ThreadPool> own_pool;
  ThreadPool& pool;
  ExecutorOptions options;
  std::optional<Model> kept;  // where there are such inputs; an observer knows the caller's
  const Model* source = nullptr;
  std::vector<ValueId> opened;  // such inputs that are no constants any more
  std::optional<GivenWeights> observer;
  std::optional<GraphRunner> runner;
  std::vector<Input> inputs;
  std::vector<std::pair<std::string, ValueId>> outputs;

  State(const Model& model, const ExecutorOptions& given)
      : pool(given.pool != nullptr ? *given.pool : own_pool.emplace(given.threads)),
        options(given) {
    const Graph& graph = model.graph;
    runner.emplace(runner_of(model));
    if (!runner->captures().empty()) {
      throw Error(Fault::kFormat, fmt::format("value {} is not defined by any node",
                                              printable(runner->captures().front().first)));
    }
    for (const ValueId value : runner->inputs()) add_input(graph, value);
    for (const ValueId value : runner->outputs()) {
      check_runnable(graph, value, "output");
      outputs.emplace_back(graph.values[value].name, value);
    }
    if (default_inputs(graph).empty()) return;
    source = options.observer != nullptr ? &model : &kept.emplace(model);
  }

  Input& add_input(const Graph& graph, ValueId value) {
    check_runnable(graph, value, "input");
    Input input;
    input.declared = graph.values[value];
    input.value = value;
    return inputs.emplace_back(std::move(input));
  }

  // Passes leave ids of inputs and outputs as they are.
  GraphRunner runner_of(const Model& model) {
    const int64_t opset = model.origin.opset;
    // An observer knows weights by their addresses.
    if (options.observer != nullptr && !has_composites(model.graph) && opened.empty())
      return GraphRunner(model.graph, opset, options, pool);
    if (options.observer != nullptr) {
      const Graph expanded = with_composites_expanded(without_defaults(model.graph, opened), opset);
      observer.emplace(*options.observer, model.graph, expanded);
      ExecutorOptions observed = options;
      observed.observer = &*observer;
      return GraphRunner(expanded, opset, observed, pool);
    }
    const std::optional<Model> held = with_held_weights(model);
    Model given = held ? *held : model;
    given.graph = without_defaults(std::move(given.graph), opened);
    given.graph = with_composites_expanded(numbered(std::move(given.graph)), opset);
    given = with_passes(std::move(given), options.passes, pool);
    return GraphRunner(given.graph, given.origin.opset, options, pool);
  }

  void bind(Input& input, const TensorView& view) {
    input.view = view;
    input.bound = true;
    runner->bind(input.value, view);
  }

  void bind(Input& input, const Tensor& tensor) {
    if (!has_view(tensor.dtype())) {
      throw Error(Fault::kUnsupported,
                  fmt::format("input {}: values of type {} are not supported",
                              printable(input.declared.name), name_of(tensor.dtype())));
    }
    Viewed fed = viewed(tensor, bytes_in_view(tensor.dtype()));
    input.fed = std::move(fed.tensor);
    input.memory = {};
    bind(input, fed.view);
  }

  // The input that has a default, from now on an input like any other.
  Input& open(ValueId value) {
    opened.push_back(value);
    runner.emplace(runner_of(*source));
    Input& input = add_input(source->graph, value);
    input.fallback = dense_of(source->graph.weights.at(value));
    bind(input, *input.fallback);
    for (const Input& other : inputs)
      if (other.bound) runner->bind(other.value, other.view);
    return input;
  }

  Input& find_input(std::string_view name) {
    const auto found = std::ranges::find_if(
        inputs, [name](const Input& input) { return input.declared.name == name; });
    if (found != inputs.end()) return *found;
    if (source != nullptr) {
      for (const ValueId value : default_inputs(source->graph))
        if (source->graph.values[value].name == name) return open(value);
    }
    bad_input(std::string(name), "the model has no such input");
  }
};

Executor::Executor(const Model& model, const ExecutorOptions& options)
    : state_(std::make_unique<State>(model, options)) {}
Executor::~Executor() = default;
Executor::Executor(Executor&&) noexcept = default;

void Executor::bind(const Feed& feed) {
  for (const auto& [name, tensor] : feed) {
    check_declared(state_->find_input(name).declared, tensor.dtype(), Dims(tensor.shape()));
  }
  for (Input& input : state_->inputs) {
    const auto found = feed.find(input.declared.name);
    if (found != feed.end()) {
      state_->bind(input, found->second);
    } else if (input.fallback) {
      state_->bind(input, *input.fallback);
    } else {
      bad_input(input.declared.name, "it is missing");
    }
  }
}

namespace {

// The type of a view of an input, and the bytes that it takes.
std::pair<DType, size_t> view_of(const Value& declared, const Dims& dims) {
  const DType dtype = declared.dtype == DType::kUnknown ? DType::kF32 : declared.dtype;
  check_declared(declared, dtype, dims);
  if (!has_view(dtype)) bad_input(declared.name, "elements of its type have no view");
  const size_t bytes = checked_count(dims) * bytes_in_view(dtype);
  if (checked_count(dims) > physical_memory() || bytes > physical_memory())
    bad_input(declared.name, "it does not fit into memory");
  return {dtype, bytes};
}

}  // namespace

void Executor::bind_view(std::string_view name, const Dims& dims,
                         std::span<const std::byte> bytes) {
  Input& input = state_->find_input(name);
  const auto [dtype, wanted] = view_of(input.declared, dims);
  if (bytes.size() != wanted || (bytes.data() == nullptr && wanted != 0))
    bad_input(input.declared.name, fmt::format("{} bytes, expected {} for {} of shape {}",
                                               bytes.data() == nullptr ? 0 : bytes.size(), wanted,
                                               name_of(dtype), to_string(dims.shape())));
  if (reinterpret_cast<uintptr_t>(bytes.data()) % bytes_in_view(dtype) != 0)
    bad_input(input.declared.name, fmt::format("its address is not a multiple of {}, as expected",
                                               bytes_in_view(dtype)));
  input.fed = Tensor();
  input.memory = {};
  // Operators do not write to what they read.
  state_->bind(input, TensorView{dtype, dims, const_cast<std::byte*>(bytes.data())});
}

TensorView Executor::input_view(std::string_view name, const Dims& dims) {
  Input& input = state_->find_input(name);
  const auto [dtype, bytes] = view_of(input.declared, dims);
  if (input.memory.data() == nullptr || input.memory.bytes() < bytes) {
    input.memory = AlignedBuffer(bytes);
  }
  input.fed = Tensor();
  const TensorView view{dtype, dims, input.memory.data()};
  state_->bind(input, view);
  return view;
}

void Executor::run_bound() {
  for (const Input& input : state_->inputs) {
    if (!input.bound) bad_input(input.declared.name, "it is missing");
  }
  state_->runner->run();
}

TensorView Executor::output_view(std::string_view name) const {
  for (const auto& [output, value] : state_->outputs) {
    if (output == name) return state_->runner->view(value);
  }
  throw Error(Fault::kUsage,
              fmt::format("output {}: the model has no such output", printable(name)));
}

Feed Executor::run(const Feed& inputs) {
  bind(inputs);
  run_bound();
  Feed result;
  for (const auto& [name, value] : state_->outputs) {
    const TensorView& view = state_->runner->view(value);
    result[name] = tensor_of(view);
  }
  return result;
}

std::vector<NodeTime> Executor::times() const { return state_->runner->times(); }
std::vector<std::string> Executor::ran_dense() const { return state_->runner->ran_dense(); }
size_t Executor::weight_bytes() const { return state_->runner->weight_bytes(); }
size_t Executor::activation_bytes() const { return state_->runner->activation_bytes(); }

}  // namespace espalier
