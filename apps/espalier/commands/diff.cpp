#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "apps/espalier/command.h"
#include "apps/espalier/command_files.h"
#include "apps/espalier/common_options.h"
#include "apps/espalier/run_info.h"
#include "formats/format.h"
#include "lib/verify/compare.h"
#include "lib/verify/weight_pairs.h"

namespace espalier {
namespace {

struct Args {
  CommonOptions common;
  std::string a, b;
};

std::optional<double> zeros_of(const Tensor& tensor) {
  if (!is_float(tensor.dtype()) || tensor.count() == 0) return std::nullopt;
  const std::vector<float> values = to_f32(tensor);
  return static_cast<double>(std::ranges::count(values, 0.0F)) / static_cast<double>(values.size());
}

DiffWeight one_side(const std::string& name, const Weight& weight, bool in_a) {
  DiffWeight row;
  row.name = name;
  row.state = in_a ? "only in a" : "only in b";
  (in_a ? row.shape_a : row.shape_b) = weight.shape();
  (in_a ? row.bytes_a : row.bytes_b) = stored_bytes(weight);
  (in_a ? row.zeros_a : row.zeros_b) = zeros_of(dense_of(weight));
  weight.give_back();
  return row;
}

// Nothing where the two are the same values, stored the same way.
std::optional<DiffWeight> compare(const WeightPairs::Pair& pair) {
  const Weight &a = *pair.a, &b = *pair.b;
  const Tensor x = dense_of(a);
  const std::optional<Tensor> as_x = as_in_a(pair);
  const Tensor y = as_x ? *as_x : dense_of(b);
  DiffWeight row;
  row.name = pair.name;
  row.shape_a = a.shape();
  row.shape_b = b.shape();
  row.bytes_a = stored_bytes(a);
  row.bytes_b = stored_bytes(b);
  row.zeros_a = zeros_of(x);
  row.zeros_b = zeros_of(y);
  if (!as_x) {
    row.state = "shape";
  } else if (a.dtype() != b.dtype()) {
    row.state = "type";
  } else if (!same_bits(x, y)) {
    row.state = "values";
    if (is_float(x.dtype())) {
      row.max_abs =
          compare_outputs({{{row.name, x}}}, {{{row.name, y}}}, {}).outputs.front().max_abs;
    }
  } else if (a.is_sparse() != b.is_sparse() || row.bytes_a != row.bytes_b) {
    row.state = "storage";
  } else {
    return std::nullopt;
  }
  return row;
}

std::map<std::string, size_t> operators_of(const Model& model) {
  std::map<std::string, size_t> counts;
  for_each_graph(model.graph, [&](const Graph& graph, const std::string&) {
    for (const Node& node : graph.nodes) ++counts[full_op_name(node)];
  });
  return counts;
}

// Operators and names of inputs and outputs, node by node in order.
std::vector<std::string> structure_of(const Model& model) {
  std::vector<std::string> result;
  for_each_graph(model.graph, [&](const Graph& graph, const std::string& prefix) {
    for (const Node& node : graph.nodes) {
      std::string text = prefix + full_op_name(node);
      for (const auto* values : {&node.inputs, &node.outputs}) {
        text += '\n';
        for (const ValueId value : *values)
          text += value == kNoValue ? "\n-" : "\n" + graph.values[value].name;
      }
      result.push_back(std::move(text));
    }
  });
  return result;
}

// Those of a by name, then what b alone has.
void add_weights(const WeightPairs& weights, DiffResults& result) {
  for (const WeightPairs::Pair& pair : weights.pairs) {
    if (const auto row = compare(pair)) {
      result.weights.push_back(*row);
    } else {
      ++result.same_weights;
    }
    pair.a->give_back();
    pair.b->give_back();
  }
  for (const auto& [name, weight] : weights.only_a)
    result.weights.push_back(one_side(name, *weight, true));
  std::ranges::sort(result.weights, {}, &DiffWeight::name);
  const size_t of_a = result.weights.size();
  for (const auto& [name, weight] : weights.only_b)
    result.weights.push_back(one_side(name, *weight, false));
  std::ranges::sort(result.weights.begin() + static_cast<ptrdiff_t>(of_a), result.weights.end(), {},
                    &DiffWeight::name);
}

// Compares operators by number, weights by name: shape, type, stored form and values.
DiffResults diff(const Args& args, const Model& a, const Model& b) {
  DiffResults result;
  result.a = {printable(args.a, 4096), a.origin.format, a.origin.bytes};
  result.b = {printable(args.b, 4096), b.origin.format, b.origin.bytes};
  result.same_structure = structure_of(a) == structure_of(b);
  const auto in_a = operators_of(a), in_b = operators_of(b);
  std::set<std::string> operators;
  for (const auto& [op, count] : in_a) operators.insert(op);
  for (const auto& [op, count] : in_b) operators.insert(op);
  for (const std::string& op : operators) {
    const auto x = in_a.find(op), y = in_b.find(op);
    const std::pair counts{x == in_a.end() ? 0 : x->second, y == in_b.end() ? 0 : y->second};
    if (counts.first != counts.second) result.operators.emplace_back(op, counts);
  }
  add_weights(pair_weights(a, b, literals_are_named(a) && literals_are_named(b)), result);
  return result;
}

int run(const Args& args) {
  apply_common(args.common);
  CommandFiles files;
  files.reads_model("A", args.a);
  files.reads_model("B", args.b);
  files.writes(args.common);
  const Model a = read_model(args.a), b = read_model(args.b);
  Results results;
  results.command = "diff";
  results.run = run_info(files, args.common);
  results.diff = diff(args, a, b);
  emit(results, args.common);
  return kDone;
}

std::function<int()> add(CLI::App& app) {
  auto args = std::make_shared<Args>();
  app.add_option("A", args->a, "first model")->required();
  app.add_option("B", args->b, "second model")->required();
  add_common(app, args->common);
  add_footer(app, "  espalier diff model.onnx pruned.onnx");
  return [args] { return run(*args); };
}

}  // namespace

constinit const Command diff_command{"diff", "compare two models: structure, weights, zeros, sizes",
                                     add};

}  // namespace espalier
