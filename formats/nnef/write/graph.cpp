#include "formats/nnef/write/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "formats/archive/archive.h"
#include "formats/nnef/language/document.h"
#include "formats/nnef/read/graph.h"
#include "formats/nnef/write/context.h"
#include "formats/nnef/write/dat.h"
#include "formats/nnef/write/operators.h"
#include "lib/base/error.h"
#include "lib/base/made_ahead.h"
#include "lib/ir/free_dimensions.h"
#include "lib/tensor/made_once.h"

namespace espalier::nnef {
namespace {

constexpr std::array<std::string_view, 4> kIndices{"grid", "first-element", "bitmap", "mask"};

// The indices that each profile has; dense has no use for any of them.
bool goes_together(std::string_view profile, std::string_view index) {
  if (index == "first-element") return profile != "portable" && profile != "operator";
  if (index == "bitmap") return profile != "portable" && profile != "operator";
  return index.empty() || index == "grid" || (profile != "operator" && profile != "opaque");
}

void expect_one_of(std::string_view what, const std::string& value,
                   std::span<const std::string_view> known) {
  if (std::ranges::find(known, value) != known.end()) return;
  throw Error(Fault::kUsage, fmt::format("{} '{}': expected one of {}", what, printable(value),
                                         fmt::join(known, ", ")));
}

WriteOptions checked(WriteOptions options) {
  if (options.profile.empty()) options.profile = kProfiles[0];
  expect_one_of("profile", options.profile, kProfiles);
  if (!options.index.empty()) expect_one_of("index", options.index, kIndices);
  if (!goes_together(options.profile, options.index)) {
    throw Error(Fault::kUsage, fmt::format("index '{}' is not supported by profile {}",
                                           options.index, options.profile));
  }
  return options;
}

// Inputs that have no value of their own: files may list their weights among them.
std::vector<ValueId> real_inputs(const Graph& graph) {
  std::vector<ValueId> inputs;
  std::ranges::copy_if(graph.inputs, std::back_inserter(inputs),
                       [&](ValueId value) { return find_weight(graph, value) == nullptr; });
  return inputs;
}

// Identifiers: inputs and outputs first, so that they keep their names; symbols of free dimensions
// come between them and everything else.
void name_values(WriteState& state, std::span<const ValueId> values) {
  for (const ValueId value : values) {
    std::string& id = state.ids[value];
    if (id.empty()) id = state.names.identifier(state.model.graph.values[value].name);
  }
}

class Symbols {
 public:
  explicit Symbols(WriteState& state) : state_(state) {}

  const std::string& of(const std::string& dimension) {
    auto& symbol = symbols_[dimension];
    if (symbol.empty()) {
      symbol = state_.names.identifier(dimension);
      order_.push_back(symbol);
    }
    return symbol;
  }
  const std::vector<std::string>& order() const { return order_; }

 private:
  WriteState& state_;
  std::map<std::string, std::string> symbols_;
  std::vector<std::string> order_;
};

const Shape& shape_of(const Value& value) {
  if (value.shape) return *value.shape;
  throw Error(Fault::kUnsupported,
              fmt::format("input '{0}' has no shape: set it (--input-shape {0}=1x...)",
                          printable(value.name)));
}

Extents input_extents(const Value& value, Symbols& symbols) {
  Extents extents;
  const Shape& shape = shape_of(value);
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] >= 0) {
      extents.emplace_back(shape[i]);
      continue;
    }
    const bool named =
        i < value.dimension_names.size() && is_dimension_name(value.dimension_names[i]);
    const std::string name = named ? value.dimension_names[i] : fmt::format("{}_{}", value.name, i);
    extents.push_back(Dim::symbol(symbols.of(name)));
  }
  return extents;
}

std::string external(const Value& value, DType dtype, const std::string& shape) {
  switch (dtype) {
    case DType::kF32:
      return fmt::format("external<scalar>(shape = {})", shape);
    case DType::kI64:
      return fmt::format("external<integer>(shape = {})", shape);
    case DType::kBool:
      return fmt::format("external<logical>(shape = {})", shape);
    default:
      try {
        static_cast<void>(nnef_type(dtype));  // refuses what no reader has
      } catch (Error& error) {
        error.add_context(fmt::format("input '{}'", printable(value.name)));
        throw;
      }
      return fmt::format("tract_core_external(shape = {}, datum_type = '{}')", shape,
                         name_of(dtype));
  }
}

// Names that scripts feed and fetch by.
void check_io_names(const WriteState& state, std::span<const ValueId> values,
                    std::string_view what) {
  for (const ValueId value : values) {
    const std::string& name = state.model.graph.values[value].name;
    if (state.ids[value] == name) continue;
    throw Error(Fault::kUnsupported,
                fmt::format("{} '{}' cannot keep its name (--keep-io-names): NNEF identifiers "
                            "consist of letters, digits and _, it would become {}",
                            what, printable(name), state.ids[value]));
  }
}

// What only tract reads, in a profile of standard operators.
void check_portable(const Extents& extents, const std::string& name) {
  if (std::ranges::all_of(extents, [](const Dim& dim) { return dim.constant().has_value(); })) {
    return;
  }
  throw Error(Fault::kUnsupported,
              fmt::format("input '{0}' is {1}: profile portable does not support free dimensions, "
                          "bind them (--input-shape {0}=...)",
                          printable(name), to_string(extents)));
}

void check_portable(const GraphText::Body& body) {
  if (body.tract_operator.empty()) return;
  throw Error(Fault::kUnsupported,
              fmt::format("{}: profile portable uses standard operators only, this requires {}",
                          body.tract_owner, body.tract_operator));
}

void write_inputs(WriteState& state, std::span<const ValueId> inputs, Symbols& symbols) {
  Graph bound = state.model.graph;
  bind_free_dimensions(bound, state.options.shapes);
  for (const ValueId id : inputs) {
    const Value& value = bound.values[id];
    const DType dtype = value.dtype == DType::kUnknown ? DType::kF32 : value.dtype;
    const Extents extents = input_extents(value, symbols);
    if (state.options.profile == "portable") check_portable(extents, value.name);
    state.text.set_owner(fmt::format("input '{}'", printable(value.name)));
    state.wires[id] = state.text.assign(state.ids[id], external(value, dtype, to_string(extents)),
                                        extents, dtype);
  }
}

std::string described(const Graph& graph, const Node& node) {
  std::string name = node.name;
  for (const ValueId output : node.outputs) {
    if (name.empty() && output != kNoValue) name = graph.values[output].name;
  }
  return fmt::format("{} of node '{}'", full_op_name(node), printable(name));
}

// An operator that the reader kept as it was.
void spell_kept(NodeWriter& n, WriteState& state) {
  std::vector<std::string> inputs;
  for (size_t i = 0; i < n.inputs(); ++i) inputs.push_back(n.wire(i).id);
  std::vector<std::string> outputs;
  for (size_t i = 0; i < n.node.outputs.size(); ++i) {
    outputs.push_back(n.id(i));
    Wire wire{outputs.back(), std::nullopt, DType::kF32};
    if (n.wants(i)) {
      const Value& value = state.model.graph.values[n.node.outputs[i]];
      if (value.dtype != DType::kUnknown) wire.dtype = value.dtype;
      if (value.shape) {
        wire.extents.emplace();
        for (const int64_t extent : *value.shape) {
          wire.extents->push_back(extent < 0 ? Dim::unknown() : Dim(extent));
        }
      }
    }
    n.set(i, wire);
  }
  n.text.assign(outputs, fill_invocation(n.node.extra, inputs));
}

void refuse_control_flow(const Graph& graph, const Node& node) {
  const bool branches = std::ranges::any_of(node.attributes, [](const Attribute& attribute) {
    return subgraph_of(attribute) != nullptr;
  });
  if (!branches) return;
  throw Error(Fault::kUnsupported,
              fmt::format("{}: NNEF has no control flow, so its subgraphs cannot be written",
                          described(graph, node)));
}

void spell_node(WriteState& state, const Node& node) {
  const Graph& graph = state.model.graph;
  // A Constant's value is a weight already.
  if (node.op == "Constant" && node.domain.empty() && node.outputs.size() == 1 &&
      find_weight(graph, node.outputs[0]) != nullptr) {
    return;
  }
  NodeWriter n(state, node);
  state.text.set_owner(described(graph, node));
  try {
    if (node.domain == "nnef" && state.model.origin.format == "nnef") return spell_kept(n, state);
    const Spelling* spelling = node.domain.empty() ? find_spelling(node.op) : nullptr;
    if (fold_constants(n)) return;
    if (spelling == nullptr)
      throw Error(Fault::kUnsupported, "NNEF has no counterpart of this operator");
    spelling->spell(n);
  } catch (Error& error) {
    error.add_context(described(graph, node));
    throw;
  }
}

// Every output under its own name: what came out under another one is copied.
std::vector<std::string> write_outputs(WriteState& state) {
  const Graph& graph = state.model.graph;
  std::vector<std::string> ids;
  for (const ValueId output : graph.outputs) {
    const std::string& id = state.ids[output];
    ids.push_back(id);
    Node copy;
    copy.op = "output";
    copy.name = graph.values[output].name;
    copy.inputs = {output};
    NodeWriter n(state, copy);
    state.text.set_owner(fmt::format("output '{}'", printable(copy.name)));
    const bool is_weight = find_weight(graph, output) != nullptr;
    try {
      if (is_weight) state.ids[output] = state.names.identifier(id + "_constant");
      const Wire wire = n.wire(0);
      state.ids[output] = ids.back();
      if (wire.id != ids.back()) {
        state.text.assign(ids.back(), fmt::format("copy({})", wire.id), wire.extents, wire.dtype);
      }
    } catch (Error& error) {
      error.add_context(fmt::format("output '{}'", printable(graph.values[output].name)));
      throw;
    }
  }
  return ids;
}

// What the reader kept of the file beside the graph: extension lines and fragments.
struct Kept {
  std::vector<std::string> extensions, fragments;
};

// As the file has it: decodes of profile opaque have no body.
std::string text_of(const WriteState& state, Decode kind) {
  const DecodeFragment& fragment = decode_fragment(kind);
  const bool opaque = state.options.profile == "opaque" && kind != Decode::diagonal;
  return opaque ? fragment.declaration() : std::string(fragment.text);
}

// The text of a fragment that this graph uses.
std::optional<std::string> own_fragment(const WriteState& state, const std::string& name) {
  if (const auto found = state.fragments.find(name); found != state.fragments.end()) {
    return found->second;
  }
  for (const Decode kind : state.decodes) {
    if (decode_fragment(kind).name == name) return text_of(state, kind);
  }
  return std::nullopt;
}

Kept kept_parts(const WriteState& state) {
  Kept kept;
  if (state.model.origin.format != "nnef" || state.model.origin.extra.empty()) return kept;
  const Document document = parse_fragments(state.model.origin.extra);
  for (const auto& words : document.extensions) {
    if (words.empty() || words[0].starts_with("KHR_enable_") || words[0] == "tract_symbol")
      continue;
    const std::string line = fmt::format("extension {};\n", fmt::join(words, " "));
    if (line != "extension tract_registry tract_core;\n") kept.extensions.push_back(line);
  }
  for (const Fragment& fragment : document.fragments) {
    const auto ours = own_fragment(state, fragment.name);
    if (!ours) {
      kept.fragments.push_back(fragment.source + "\n");
    } else if (!same_meaning(parse_fragments(*ours).fragments.at(0), fragment)) {
      throw Error(Fault::kUnsupported,
                  fmt::format("fragment '{}' of the model differs from espalier's of that name",
                              printable(fragment.name)));
    }
  }
  return kept;
}

std::string used_fragments(const WriteState& state, const Kept& kept) {
  std::string out;
  const auto add = [&](std::string_view text) {
    if (!out.empty()) out += '\n';
    out += text;
  };
  for (const DecodeFragment& fragment : decode_fragments()) {
    if (std::ranges::find(state.decodes, fragment.kind) != state.decodes.end()) {
      add(text_of(state, fragment.kind));
    }
  }
  for (const std::string& name : state.fragment_order) add(state.fragments.at(name));
  for (const std::string& text : kept.fragments) add(text);
  return out;
}

// Version, extensions, symbols, fragments and the graph, in this order.
std::string document_text(const WriteState& state, const Symbols& symbols,
                          std::span<const std::string> inputs, std::span<const std::string> outputs,
                          const GraphText::Body& body) {
  const Kept kept = kept_parts(state);
  const std::string fragments = used_fragments(state, kept);
  std::string out = "version 1.0;\n";
  if (!state.decodes.empty() || !state.fragment_order.empty())
    out += fmt::format("{}{}\n", kVersionComment, kPackedVersion);
  out += '\n';
  if (!fragments.empty()) out += "extension KHR_enable_fragment_definitions;\n";
  if (!fragments.empty() || body.nests) {
    out += "extension KHR_enable_operator_expressions;\n";
  }
  const auto uses_tract = [](std::string_view text) {
    return text.find("tract_") != std::string_view::npos;
  };
  if (uses_tract(fragments) || uses_tract(body.text) || !symbols.order().empty() ||
      state.needs_tract) {
    out += "extension tract_registry tract_core;\n";
  }
  for (const std::string& line : kept.extensions) out += line;
  for (const std::string& symbol : symbols.order()) {
    out += fmt::format("extension tract_symbol {};\n", symbol);
  }
  if (!out.ends_with("\n\n")) out += '\n';
  if (!fragments.empty()) out += fragments + "\n";
  out += fmt::format("graph network( {} ) -> ( {} )\n{{\n{}}}\n", fmt::join(inputs, ", "),
                     fmt::join(outputs, ", "), body.text);
  return out;
}

}  // namespace

WriteState::WriteState(const Model& model, const WriteOptions& options)
    : model(model), options(options), ids(model.graph.values.size()) {}

// Writes the whole graph and collects the variables that its text refers to.
Spelled spell(const Model& model, const WriteOptions& given) {
  const WriteOptions options = checked(given);
  const Graph& graph = model.graph;
  if (graph.outputs.empty()) throw Error(Fault::kUnsupported, "the model has no outputs");
  WriteState state(model, options);
  const std::vector<ValueId> inputs = real_inputs(graph);
  name_values(state, inputs);
  name_values(state, graph.outputs);
  if (options.keep_io_names) {
    check_io_names(state, inputs, "input");
    check_io_names(state, graph.outputs, "output");
  }
  Symbols symbols(state);
  write_inputs(state, inputs, symbols);
  for (ValueId value = 0; value < graph.values.size(); ++value) {
    name_values(state, std::span(&value, 1));
  }
  for (const Node& node : graph.nodes) refuse_control_flow(graph, node);
  for (const Node& node : graph.nodes) spell_node(state, node);
  const std::vector<std::string> outputs = write_outputs(state);

  std::vector<std::string> input_ids;
  input_ids.reserve(inputs.size());
  for (const ValueId input : inputs) input_ids.push_back(state.ids[input]);
  const GraphText::Body body = state.text.body(outputs);
  if (options.profile == "portable") check_portable(body);
  Spelled result;
  result.graph = document_text(state, symbols, input_ids, outputs, body);
  if (options.profile == "portable" &&
      result.graph.find("\nextension tract_") != std::string::npos) {
    throw Error(Fault::kUnsupported,
                "a fragment of the model uses operators of tract: profile portable uses standard "
                "operators only");
  }
  for (const std::string& id : state.variable_order) {
    if (body.ids.contains(id)) result.variables.push_back(state.variables[id]);
  }
  return result;
}

bool write_nnef(const Model& model, const std::filesystem::path& path, const WriteOptions& options,
                const AcceptOutput& accept) {
  const Spelled spelled = spell(model, options);
  const auto fill = [&](const AddMember& add) {
    add(kGraphFile, {as_bytes(spelled.graph)});
    const auto make = [&](size_t i) { return made_once(spelled.variables[i].make()); };
    for_each_made_ahead(spelled.variables.size(), make, [&](size_t i, const Tensor& tensor) {
      const std::string header = dat_header(tensor.dtype(), tensor.shape());
      const std::string bits = tensor.dtype() == DType::kBool ? dat_items(tensor) : "";
      add(fmt::format("{}.dat", spelled.variables[i].label),
          {as_bytes(header), bits.empty() ? tensor.bytes() : as_bytes(bits)});
      tensor.give_back();
    });
  };
  const auto may_replace = [](const std::filesystem::path& folder) {
    std::error_code error;
    return std::filesystem::is_regular_file(folder / kGraphFile, error);
  };
  return write_archive(path, fill, may_replace, accept);
}

}  // namespace espalier::nnef
