#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/nnef/decode_fragments.h"
#include "formats/nnef/write/graph.h"
#include "formats/nnef/write/text.h"

namespace espalier::nnef {

/// Integers that shapes are made of: row-major elements, each of which may depend on free
/// dimensions. At most rank 1 in practice, any rank here.
struct Integers {
  Shape shape;
  Extents values;
  DType dtype = DType::kI64;  ///< kI64, kI32 or kBool
};

/// What a decode is called with: variables, and attributes that say where their blocks lie.
struct DecodeArguments {
  Decode kind = Decode::grid;
  std::string values, index;
  std::string attributes;  ///< but for the shape
};

/// What is known about the values of the graph while it is written, and the text so far.
struct WriteState {
  WriteState(const Model& model, const WriteOptions& options);

  const Model& model;
  const WriteOptions& options;
  Names names;
  GraphText text{names};
  std::vector<std::string> ids;                  ///< per value: its identifier
  std::map<ValueId, Wire> wires;                 ///< values that the text has computed
  std::map<ValueId, Wire> flipped;               ///< see matrix_wire
  std::map<ValueId, Integers> integers;          ///< values known without computing them
  std::map<std::string, std::string> fragments;  ///< of recurrent steps, by name
  std::vector<std::string> fragment_order;
  bool needs_tract = false;              ///< even where no operator's name says so
  std::vector<Decode> decodes;           ///< those in use
  std::map<std::string, Wire> counters;  ///< variables 0, 1, 2, ... of profile portable
  /// Weights that products read themselves (profile operator), by the product's rank.
  std::map<std::pair<ValueId, size_t>, DecodeArguments> products;
  std::map<std::string, Variable> variables;  ///< by identifier
  std::vector<std::string> variable_order;
};

/// The weight behind `value` as a wire of its own shape. Errors name the weight.
Wire weight_wire(WriteState& state, ValueId value);
/// The weight as [..., outputs, inputs]; `is_flipped` says that this is not its own shape.
struct MatrixWire {
  Wire wire;
  bool is_flipped = false;
};
MatrixWire matrix_wire(WriteState& state, ValueId value);
/// The product of `input` with a packed weight in one call of profile operator, plus what `bias`
/// writes, [1, outputs]; nothing where it is spelled by a decode: in other profiles, and with a
/// diagonal, i8 values or f16 weights. `outputs_first` says how the operator reads the weight.
std::optional<std::string> sparse_product(WriteState& state, ValueId value, bool outputs_first,
                                          const Wire& input,
                                          const std::function<std::string()>& bias);

/// One node while it is spelled.
class NodeWriter {
 public:
  NodeWriter(WriteState& state, const Node& node) : node(node), text(state.text), state_(state) {}

  const Node& node;
  GraphText& text;

  /// The NNEF operator that the node's operator is written with, the first of several.
  std::string_view nnef() const;
  /// The file may hold standard operators only, in their standard meaning.
  bool is_standard_only() const { return state_.options.profile == "portable"; }
  /// An operator is written in a meaning that only tract gives it: the file says so.
  void need_tract() { state_.needs_tract = true; }
  int64_t opset() const { return state_.model.origin.opset; }
  size_t inputs() const { return node.inputs.size(); }
  bool has(size_t input) const;
  /// Whether output `output` has a name.
  bool wants(size_t output) const;

  /// Input as a tensor of the text; constants become variables.
  Wire wire(size_t input);
  /// The same for the second factor of a matrix product.
  MatrixWire matrix(size_t input);
  /// See sparse_product.
  std::optional<std::string> sparse_product(size_t input, bool outputs_first, const Wire& x,
                                            const std::function<std::string()>& bias = {});
  /// A wire whose rank is known.
  Wire ranked(size_t input);
  DType dtype(size_t input);
  /// Extents of an input without writing it; nothing where not even its rank is known.
  std::optional<Extents> known_extents(size_t input) const;
  std::optional<Integers> integers(size_t input) const;
  /// The same as extents, which must be known. Errors say that the input must be constant.
  Extents extents(size_t input) const;
  /// Integers that do not depend on free dimensions.
  std::vector<int64_t> constants(size_t input) const;
  /// The elements of a constant of floats.
  std::vector<float> floats(size_t input) const;
  /// The one float of a constant with one element.
  std::optional<float> scalar(size_t input) const;
  bool is_constant(size_t input) const;
  size_t rank_of_constant(size_t input) const;

  /// The identifier that output `output` is to have.
  std::string id(size_t output = 0);
  void set(size_t output, Wire wire);
  /// Output 0 = expression.
  void set(std::string expression, std::optional<Extents> extents, DType dtype);
  void set_integers(size_t output, Integers integers);
  /// A further assignment on the way, named after the node.
  Wire step(std::string_view suffix, std::string expression, std::optional<Extents> extents,
            DType dtype);
  std::string fresh(std::string_view suffix);
  void use_fragment(const std::string& name, std::string definition);

  /// attribute or input holding axes, normalised to 0 .. rank - 1; nothing where neither is there.
  /// Without a rank they must count from the front.
  std::optional<std::vector<int64_t>> axes(size_t input, std::optional<size_t> rank,
                                           std::string_view name = "axes");
  int64_t axis(int64_t axis, size_t rank) const;
  /// `wire` with extents of 1 in front, up to `rank`.
  Wire raised(const Wire& wire, size_t rank);
  /// Extents as the elements of an NNEF array.
  std::string spelled(const Extents& extents) const;

  /// Errors  always: Fault::kUnsupported; spell() puts operator and node in front.
  [[noreturn]] void fail(std::string_view text) const;

 private:
  ValueId input_value(size_t input) const;
  WriteState& state_;
};

/// Computes nodes over integers of shapes (Shape, Gather, Concat, ...) without writing them.
/// True where all outputs are known now.
bool fold_constants(NodeWriter& n);
/// Their names.
std::span<const std::string_view> constant_folded_operators();

}  // namespace espalier::nnef
