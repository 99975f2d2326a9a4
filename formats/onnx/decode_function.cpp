#include "formats/onnx/decode_function.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "formats/onnx/data_type.h"
#include "formats/onnx/read_attribute.h"
#include "lib/sparse/pack_rules.h"

namespace espalier {
namespace {

// What the nodes compute with: few of them take bf16 (Where from opset 16, ConstantOfShape from 20,
// and runtimes lack more), so that such weights are decoded as f32, which loses nothing. Products
// with a scale are of f32. Pad lacks f16 in runtimes, so that a bitmap chooses among f32.
DType working_type(const DecodeForm& form) {
  return form.weight == DType::kBF16 || form.scaled() || form.bitmap ? DType::kF32 : form.weight;
}

// Of blocks that are cut into lines.
constexpr std::array<uint32_t, 4> kLines{1, 2, 4, 8};

// Types that need no pass over the whole weight.
bool has_lines(DType values, DType weight) {
  const auto plain = [](DType type) { return type == DType::kF32 || type == DType::kF16; };
  return plain(values) && plain(weight);
}

std::string type_suffix(const DecodeForm& form) {
  const auto upper = [](DType dtype) {
    std::string name(name_of(dtype));
    for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return name;
  };
  if (form.values != form.weight) return upper(form.values) + "To" + upper(form.weight);
  return form.weight == DType::kF32 ? "" : upper(form.weight);
}

Attribute cast_to(DType dtype) { return {"to", static_cast<int64_t>(onnx_from_dtype(dtype)), {}}; }
Attribute permutation(std::vector<int64_t> axes) { return {"perm", std::move(axes), {}}; }
Attribute zero(DType dtype) { return {"value", Tensor::zeros(dtype, {1}), {}}; }
template <size_t kCount>
Attribute integers(std::array<int64_t, kCount> values) {
  return {"value", Tensor::of<int64_t>({kCount}, values), {}};
}
template <typename T>
Tensor scalar(T value) {
  return Tensor::of<T>({}, std::array<T, 1>{value});
}
Attribute bytes(const std::vector<uint8_t>& values) {
  return {"value", Tensor::of<uint8_t>({static_cast<int64_t>(values.size())}, values), {}};
}

class StepWriter {
 public:
  explicit StepWriter(const DecodeForm& form) : form_(form) {}

  // The steps from the stored parts to the dense weight, in the order in which they run.
  std::vector<DecodeStep> write() {
    const DType type = working_type(form_);
    if (form_.lines != 0 && !form_.bitmap) {
      scatter_lines(type);
      return std::move(steps_);
    }
    if (form_.bitmap) {
      fill_grid();
    } else {
      scatter(type);
    }
    if (form_.once) {
      add("Transpose", "lines", {"tiles"}, {permutation({1, 3, 0, 2})});
    } else if (!form_.first_element && !form_.elements && form_.lines == 0) {
      add("Transpose", "lines", {"tiles"}, {permutation({0, 2, 1, 3})});
    }
    if (form_.stacked()) add("Reshape", "stacked", {last(), "padded"});
    if (form_.ragged) cut();
    if (form_.scaled()) add("Mul", "scaled", {last(), "scale"});
    if (form_.diagonal) set_diagonal();
    if (form_.transposed && !form_.once && form_.lines == 0)
      add("Transpose", "turned", {last()}, {permutation({0, 2, 1})});
    if (form_.weight == type) {
      add("Reshape", "weight", {last(), "shape"});
    } else {
      add("Reshape", "wide", {last(), "shape"});
      add("Cast", "weight", {"wide"}, {cast_to(form_.weight)});
    }
    return std::move(steps_);
  }

 private:
  void scatter(DType type) {
    add("Cast", "place", {"index"}, {cast_to(DType::kI64)});
    if (form_.first_element) add("Add", "places", {"place", "within"});
    add("ConstantOfShape", "zeros", {form_.first_element ? "count" : "grid"}, {zero(type)});
    add("ScatterND", "tiles",
        {"zeros", form_.first_element ? "places" : "place", widened("values", form_.values)});
  }

  // Every node whose output is as large as the weight costs onnxruntime that much memory until all
  // are computed: lines share their zeros, and lie as the weight's rows do once they are joined.
  // Slices come before casts, so that tract computes all of it at load.
  void scatter_lines(DType type) {
    add("Cast", "place", {"index"}, {cast_to(DType::kI64)});
    if (form_.transposed) {
      add("Constant", "swap", {}, {integers<2>({1, 0})});
      add("Gather", "turned_place", {"place", "swap"}, {{"axis", int64_t{1}, {}}});
    }
    const std::string place = last();
    add("ConstantOfShape", "zeros", {"grid"}, {zero(type)});
    if (form_.lines == 1) {
      add("ScatterND", "tiles", {"zeros", place, widened("values", form_.values)});
    } else {
      add("Constant", "along", {}, {integers<1>({form_.transposed ? 2 : 1})});
      add("Constant", "at0", {}, {integers<1>({0})});
      std::vector<std::string> tiles;
      for (uint32_t i = 0; i < form_.lines; ++i) {
        const std::string from = fmt::format("at{}", i), to = fmt::format("at{}", i + 1);
        const std::string line = fmt::format("line{}", i);
        add("Constant", to, {}, {integers<1>({int64_t{i} + 1})});
        add("Slice", line, {"values", from, to, "along"});
        tiles.push_back(fmt::format("tiles{}", i));
        add("ScatterND", tiles.back(), {"zeros", place, widened(line, form_.values)});
      }
      add("Concat", "tiles", std::move(tiles), {{"axis", int64_t{1}, {}}});
    }
    add("Reshape", "weight", {"tiles", "shape"});
  }

  // Tables of all bytes: how many bits are set before each of its bits, the highest first, which
  // for one that is not set is more than there are blocks, and how many are set at all. What is made
  // for each block of the grid stays small so: runtimes that fold a decode keep all of it until they
  // have finished.
  void tables_of_bytes() {
    std::vector<uint8_t> codes(256);
    std::iota(codes.begin(), codes.end(), uint8_t{0});
    add("Constant", "codes", {},
        {{"value", Tensor::of<uint8_t>({256, 1}, std::span<const uint8_t>(codes)), {}}});
    add("Constant", "powers", {},
        {{"value", Tensor::of<int32_t>({8}, std::array{128, 64, 32, 16, 8, 4, 2, 1}), {}}});
    add("Constant", "two", {}, {{"value", scalar<int32_t>(2), {}}});
    add("Constant", "across", {}, {{"value", scalar<int64_t>(1), {}}});
    add("Constant", "one", {}, {{"value", scalar<int32_t>(1), {}}});
    add("Constant", "many", {}, {{"value", scalar<int32_t>(1 << 30), {}}});
    add("Constant", "last", {}, {integers<1>({7})});
    // BitShift of bytes loses no bits in OpenVINO 2026.4, and is not folded there.
    add("Cast", "code_numbers", {"codes"}, {cast_to(DType::kI32)});
    add("Div", "halved", {"code_numbers", "powers"});
    add("Mod", "numbers", {"halved", "two"});
    add("Cast", "set", {"numbers"}, {cast_to(DType::kBool)});
    add("CumSum", "sums", {"numbers", "across"});
    add("Sub", "before", {"sums", "one"});
    add("Where", "ranks", {"set", "before", "many"});
    add("Gather", "counts", {"sums", "last"}, {{"axis", int64_t{1}, {}}});
  }

  // The values that come before a block's are its place; behind the last one there are zeros, for
  // the blocks that are not kept.
  void fill_grid() {
    tables_of_bytes();
    add("Constant", "down", {}, {{"value", scalar<int64_t>(0), {}}});
    add("Constant", "behind", {}, {integers<6>({0, 0, 0, 1, 0, 0})});
    if (form_.cut || !form_.elements) add("Constant", "first", {}, {integers<1>({0})});
    add("Cast", "code", {"bitmap"}, {cast_to(DType::kI32)});
    add("Gather", "byte_counts", {"counts", "code"});
    add("CumSum", "starts", {"byte_counts", "down"}, {{"exclusive", int64_t{1}, {}}});
    add("Gather", "within", {"ranks", "code"});
    add("Add", "place", {"within", "starts"});
    if (form_.cut) cut_bits();
    const std::string place = last();
    add("Shape", "value_extents", {"values"});
    add("Gather", "block_count", {"value_extents", "down"});
    add("Cast", "none", {"block_count"}, {cast_to(DType::kI32)});
    add("Min", "source", {place, "none"});
    if (!form_.elements) lay_out_source();
    const std::string source = last();
    add("Pad", "padded_values", {widened("values", form_.values), "behind"});
    add("Gather", form_.elements ? "blocks" : "tiles", {"padded_values", source});
  }

  // Before there is a value for each element: block rows and columns, or columns and rows where
  // blocks of one line lie as the weight does.
  void lay_out_source() {
    add("Constant", "second", {}, {integers<1>({2})});
    add("Slice", "cells", {"grid", "first", "second"});
    add("Reshape", "source_cells", {"source", "cells"});
    if (form_.lines != 0 && form_.transposed)
      add("Transpose", "turned_cells", {"source_cells"}, {permutation({1, 0})});
  }

  // The last byte has bits behind the grid.
  void cut_bits() {
    add("Constant", "flat", {}, {integers<1>({-1})});
    add("Reshape", "all_places", {"place", "flat"});
    add("Slice", "places", {"all_places", "first", "count", "first"});
  }

  void add(std::string op, std::string output, std::vector<std::string> inputs,
           std::vector<Attribute> attributes = {}) {
    steps_.push_back({std::move(op), std::move(output), std::move(inputs), std::move(attributes)});
  }
  const std::string& last() const { return steps_.back().output; }

  std::string widened(const std::string& name, DType dtype) {
    if (dtype == working_type(form_)) return name;
    add("Cast", name + "_cast", {name}, {cast_to(working_type(form_))});
    return name + "_cast";
  }

  void cut() {
    const std::string from = last();
    add("Constant", "origin", {}, {integers<2>({0, 0})});
    add("Constant", "axes", {}, {integers<2>({1, 2})});
    add("Slice", "cut", {from, "origin", "extent", "axes"});
  }

  // A choice, no sum: exact for zeros of either sign and for infinities.
  void set_diagonal() {
    const std::string from = last();
    add("ConstantOfShape", "square", {"extent"}, {zero(DType::kF32)});
    add("EyeLike", "eye", {"square"});
    add("Cast", "on_diagonal", {"eye"}, {cast_to(DType::kBool)});
    const std::string diagonal = widened("diagonal", form_.diagonal_type());
    add("Where", "whole", {"on_diagonal", diagonal, from});
  }

  const DecodeForm& form_;
  std::vector<DecodeStep> steps_;
};

}  // namespace

namespace {

// One part of whole blocks.
bool may_have_order(const DecodeForm& form) {
  return !form.parts && !form.ragged && !form.diagonal && !form.first_element && !form.elements &&
         has_lines(form.values, form.weight);
}

// Fewer nodes are as large as the weight. A single line needs no transpose.
// More of them save the memory of zeros, where the C library gives back at once what onnxruntime
// copies of each: from 32 MiB on.
void choose_order(const SparseMatrix& matrix, DecodeForm& form) {
  constexpr uint64_t kGivenBack = uint64_t{32} << 20;
  if (matrix.fold.parts != 1 || !may_have_order(form)) return;
  const uint32_t lines = form.transposed ? matrix.block.cols : matrix.block.rows;
  const uint64_t bytes = byte_count(matrix.dtype, matrix.shape);
  const bool known = std::ranges::find(kLines, lines) != kLines.end();
  if (known && (lines == 1 || (bytes >= lines * kGivenBack && !form.bitmap))) {
    form.lines = lines;
  } else {
    form.once = form.transposed;
  }
}

}  // namespace

DecodeForm decode_form(const SparseMatrix& matrix, std::string_view index) {
  DecodeForm form;
  form.transposed = matrix.fold.transposed;
  form.ragged =
      matrix.fold.rows % matrix.block.rows != 0 || matrix.fold.cols % matrix.block.cols != 0;
  form.diagonal = matrix.has_diagonal();
  form.first_element = index == "first-element";
  form.bitmap =
      matrix.blocks() != 0 && (index == "bitmap" || (index.empty() && takes_bitmap(matrix)));
  form.elements = form.bitmap && matrix.block.area() == 1;
  form.cut = form.bitmap && grid_blocks(matrix) % 8 != 0;
  const Fold& fold = matrix.fold;
  const bool is_matrix =
      matrix.shape == Shape{static_cast<int64_t>(fold.rows), static_cast<int64_t>(fold.cols)};
  form.parts = (fold.parts != 1 || (form.elements && !is_matrix)) && !form.transposed &&
               !form.ragged && !form.diagonal;
  form.values = matrix.values.dtype();
  form.weight = matrix.dtype;
  choose_order(matrix, form);
  return form;
}

const std::vector<DecodeForm>& all_decode_forms() {
  static const std::vector<DecodeForm> kForms = [] {
    constexpr std::array kWeights{DType::kF32, DType::kF16, DType::kBF16};
    constexpr std::array kValues{DType::kF32, DType::kF16, DType::kBF16, DType::kI8};
    std::vector<DecodeForm> forms;
    for (unsigned bits = 0; bits < 256; ++bits) {
      DecodeForm form;
      form.transposed = (bits & 1) != 0, form.ragged = (bits & 2) != 0;
      form.diagonal = (bits & 4) != 0, form.parts = (bits & 8) != 0;
      form.first_element = (bits & 16) != 0, form.bitmap = (bits & 32) != 0;
      form.elements = (bits & 64) != 0, form.cut = (bits & 128) != 0;
      if (form.parts && (bits & 7) != 0) continue;
      if (!form.bitmap && (form.elements || form.cut)) continue;
      if (form.elements && form.ragged) continue;
      if (form.first_element && form.bitmap) continue;
      for (const DType weight : kWeights) {
        for (const DType values : kValues) {
          form.values = values, form.weight = weight;
          forms.push_back(form);
          if (!may_have_order(form)) continue;
          for (const uint32_t lines : kLines) {
            if (form.bitmap && lines != 1) continue;
            forms.push_back(form);
            forms.back().lines = lines;
          }
          if (!form.transposed) continue;
          forms.push_back(form);
          forms.back().once = true;
        }
      }
    }
    return forms;
  }();
  return kForms;
}

std::string decode_name(const DecodeForm& form) {
  std::string name = "BlockSparseDecode";
  if (form.transposed) name += "Transposed";
  if (form.parts) name += "Parts";
  if (form.ragged) name += "Ragged";
  if (form.diagonal) name += "WithDiagonal";
  if (form.first_element) name += "FirstElement";
  if (form.bitmap) name += "Bitmap";
  if (form.elements) name += "Elements";
  if (form.cut) name += "Cut";
  if (form.lines != 0) name += fmt::format("Lines{}", form.lines);
  if (form.once) name += "Once";
  return name + type_suffix(form);
}

std::vector<std::string> decode_inputs(const DecodeForm& form) {
  std::vector<std::string> inputs{"values", form.bitmap ? "bitmap" : "index"};
  if (form.first_element) {
    inputs.insert(inputs.end(), {"within", "count"});
  } else {
    if (form.cut) inputs.push_back("count");
    if (!form.elements) inputs.push_back("grid");
  }
  if (form.stacked()) inputs.push_back("padded");
  if (form.ragged || form.diagonal) inputs.push_back("extent");
  if (form.scaled()) inputs.push_back("scale");
  if (form.diagonal) inputs.push_back("diagonal");
  inputs.push_back("shape");
  return inputs;
}

std::vector<DecodeStep> decode_steps(const DecodeForm& form) { return StepWriter(form).write(); }

pb::FunctionProto decode_function(const DecodeForm& form, int64_t opset) {
  pb::FunctionProto function;
  function.set_name(decode_name(form));
  function.set_domain(std::string(kDecodeDomain));
  function.set_doc_string("Unpacks the kept blocks of a weight into the dense weight.");
  for (std::string& input : decode_inputs(form)) function.add_input(std::move(input));
  function.add_output("weight");
  for (const DecodeStep& step : decode_steps(form)) {
    pb::NodeProto& node = *function.add_node();
    node.set_op_type(step.op);
    for (const std::string& input : step.inputs) node.add_input(input);
    node.add_output(step.output);
    for (const Attribute& attribute : step.attributes)
      *node.add_attribute() = put_attribute(attribute, false);
  }
  pb::OperatorSetIdProto& import = *function.add_opset_import();
  import.set_domain("");
  import.set_version(opset);
  return function;
}

bool same_function(const pb::FunctionProto& a, const pb::FunctionProto& b) {
  const auto body = [](const pb::FunctionProto& function) {
    pb::FunctionProto body;
    *body.mutable_input() = function.input();
    *body.mutable_output() = function.output();
    *body.mutable_node() = function.node();
    *body.mutable_attribute() = function.attribute();
    *body.mutable_attribute_proto() = function.attribute_proto();
    return body.SerializeAsString();
  };
  return body(a) == body(b);
}

int64_t decode_opset(const DecodeForm& form) {
  if (form.values == DType::kBF16 || form.weight == DType::kBF16) return 13;
  return form.bitmap ? 12 : 11;  // Min of integers
}

}  // namespace espalier
