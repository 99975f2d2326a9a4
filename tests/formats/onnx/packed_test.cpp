#include <fmt/format.h>
#include <onnx/checker.h>

#include <random>

#include "formats/onnx/decode_function.h"
#include "lib/base/log.h"
#include "lib/sparse/pack.h"
#include "tests/formats/onnx/onnx_cases.h"

namespace espalier {
namespace {

struct Case {
  std::string what;
  Shape shape;
  Fold fold;
  BlockShape block;
  bool diagonal = false;
  DType weight = DType::kF32, values = DType::kF32;
  double kept = 0.4;
};

// Weights as Gemm, MatMul, grouped convolutions and GRUs have them, even and ragged.
const std::vector<Case> kCases{
    {"plain", {32, 12}, {1, 32, 12}, {16, 1}},
    {"conv", {8, 3, 2, 2}, {1, 8, 12}, {8, 4}},
    {"unstructured", {7, 5}, {1, 7, 5}, {1, 1}},
    {"empty", {32, 12}, {1, 32, 12}, {16, 1}, false, DType::kF32, DType::kF32, 0},
    {"full", {32, 12}, {1, 32, 12}, {16, 1}, false, DType::kF32, DType::kF32, 1},
    {"transposed", {12, 32}, {1, 32, 12, true}, {16, 4}},
    {"transposed ragged", {13, 30}, {1, 30, 13, true}, {16, 4}},
    {"batched", {3, 12, 32}, {3, 32, 12, true}, {16, 4}},
    {"batched ragged", {3, 13, 30}, {3, 30, 13, true}, {8, 5}},
    {"gates", {2, 48, 16}, {6, 16, 16}, {16, 1}},
    {"gates ragged", {1, 36, 12}, {3, 12, 12}, {5, 3}},
    {"gates with diagonal", {2, 48, 16}, {6, 16, 16}, {8, 4}, true},
    {"gates ragged with diagonal", {1, 36, 12}, {3, 12, 12}, {5, 3}, true},
    {"transposed with diagonal", {12, 12}, {1, 12, 12, true}, {4, 4}, true},
    {"diagonal alone", {12, 12}, {1, 12, 12}, {4, 4}, true, DType::kF32, DType::kF32, 0},
    {"one ragged block", {3, 2}, {1, 3, 2}, {16, 4}},
    {"f16 values", {32, 12}, {1, 32, 12}, {16, 1}, false, DType::kF32, DType::kF16},
    {"f16", {30, 12}, {1, 30, 12}, {16, 1}, false, DType::kF16, DType::kF16},
    {"bf16", {12, 12}, {1, 12, 12}, {8, 1}, true, DType::kBF16, DType::kBF16},
    {"bf16 values", {12, 12}, {1, 12, 12}, {8, 1}, true, DType::kF32, DType::kBF16},
    {"i8 values", {32, 12}, {1, 32, 12}, {16, 1}, false, DType::kF32, DType::kI8},
    {"i8 values, none", {32, 12}, {1, 32, 12}, {16, 1}, false, DType::kF32, DType::kI8, 0},
    {"i8 values of f16", {30, 12}, {1, 30, 12}, {16, 1}, false, DType::kF16, DType::kI8},
    {"i8 values of bf16", {2, 48, 16}, {6, 16, 16}, {16, 1}, false, DType::kBF16, DType::kI8},
    {"i8 values, transposed",
     {3, 13, 30},
     {3, 30, 13, true},
     {8, 5},
     false,
     DType::kF32,
     DType::kI8},
    {"i8 values, diagonal", {1, 36, 12}, {3, 12, 12}, {5, 3}, true, DType::kF32, DType::kI8},
    {"i8 values of f16, diagonal",
     {12, 12},
     {1, 12, 12, true},
     {4, 4},
     true,
     DType::kF16,
     DType::kI8},
    {"one line", {12, 32}, {1, 32, 12, true}, {16, 1}},
};

SparseMatrix matrix_of(const Case& c) {
  std::mt19937 random(7);
  std::vector<float> elements(c.fold.count());
  for (float& element : elements) element = static_cast<float>(random() % 2001) / 1000.0F - 1.0F;
  elements[0] = -0.0F;
  BlockMask mask(c.block, c.fold, false);
  for (size_t i = 0; i < mask.kept.size(); ++i)
    mask.kept[i] = static_cast<double>(random() % 1000) < c.kept * 1000;
  const Tensor dense = from_f32(elements, c.weight, c.shape);
  SparseMatrix matrix = pack_blocks(dense, c.fold, mask, c.diagonal);
  return c.values == c.weight ? matrix : with_values(matrix, c.values);
}

// W and an Identity that reads it, as an initializer or from a Constant node.
Model model_of(const SparseMatrix& matrix, bool constant = false, int64_t opset = 17) {
  Model model;
  model.origin.format = "test";
  model.origin.opset = opset;
  Graph& graph = model.graph;
  graph.name = "net";
  const ValueId w = add_value(graph, "W", matrix.dtype, matrix.shape);
  const ValueId y = add_value(graph, "y", matrix.dtype, matrix.shape);
  graph.weights.emplace(w, Weight{matrix, {}});
  if (constant) graph.nodes.push_back({"Constant", "", "c", {}, {w}, {}, {}});
  graph.nodes.push_back({"Identity", "", "id", {w}, {y}, {}, {}});
  graph.outputs = {y};
  return model;
}

const Weight& weight_named(const Model& model, std::string_view name) {
  for (const auto& [id, weight] : model.graph.weights) {
    if (model.graph.values[id].name == name) return weight;
  }
  FAIL("no weight of that name");
  return model.graph.weights.begin()->second;
}

void check_equal(const SparseMatrix& a, const SparseMatrix& b) {
  CHECK(a.shape == b.shape);
  CHECK(a.fold == b.fold);
  CHECK(a.block == b.block);
  CHECK(a.row_start == b.row_start);
  CHECK(a.col == b.col);
  CHECK(same_bits(a.values, b.values));
  CHECK(a.has_diagonal() == b.has_diagonal());
  if (a.has_diagonal()) CHECK(same_bits(a.diagonal, b.diagonal));
  CHECK(a.scale.count() == b.scale.count());
  if (a.scale.count() != 0) CHECK(same_bits(a.scale, b.scale));
  CHECK(a.dtype == b.dtype);
}

TEST_CASE("packed weights come back as they were, by call and by spelled-out nodes") {
  for (const Case& c : kCases) {
    for (const char* name : {"function", "inline"}) {
      for (const char* index : {"grid", "first-element", "bitmap"}) {
        for (const bool constant : {false, true}) {
          CAPTURE(c.what);
          CAPTURE(name);
          CAPTURE(index);
          CAPTURE(constant);
          const SparseMatrix matrix = matrix_of(c);
          const auto proto = proto_of(model_of(matrix, constant), profile(name, index));
          CHECK(proto.graph().initializer_size() >= 4);
          CHECK(proto.functions_size() == (std::string(name) == "function" ? 1 : 0));
          const Model again = read_proto(proto);
          REQUIRE(again.graph.weights.size() == 1);
          CHECK(again.graph.nodes.size() == 1);
          REQUIRE(weight_named(again, "W").is_sparse());
          check_equal(weight_named(again, "W").sparse(), matrix);
          CHECK(difference(proto, proto_of(again, profile("", index))) == "");
        }
      }
    }
  }
}

// The file of each profile is valid, has the decode of that name and is read back as it was written.
void check_files(const Case& c, const std::string& index = "grid") {
  for (const char* name : {"function", "inline"}) {
    CAPTURE(c.what);
    CAPTURE(name);
    const SparseMatrix matrix = matrix_of(c);
    const auto proto = proto_of(model_of(matrix), profile(name, index));
    CHECK_NOTHROW(pb::checker::check_model(proto, true));
    if (name == std::string("function"))
      CHECK(proto.functions(0).name() == std::string("BlockSparseDecode") + c.what);
    const Model again = read_proto(proto);
    REQUIRE(weight_named(again, "W").is_sparse());
    check_equal(weight_named(again, "W").sparse(), matrix);
    CHECK(difference(proto, proto_of(again, profile("", index))) == "");
  }
}

// The order of a decode of one part, in whole blocks, that needs the fewest nodes as large as the weight.
TEST_CASE("decodes take the order that costs readers the least memory") {
  const Fold outputs_first{1, 16384, 1024}, inputs_first{1, 16384, 1024, true};
  const Shape in_out{1024, 16384}, out_in{16384, 1024};  // 64 MiB
  constexpr double kFew = 0.002;
  constexpr DType kF32 = DType::kF32, kF16 = DType::kF16;
  const Case cases[]{
      {"TransposedLines1", {12, 32}, {1, 32, 12, true}, {16, 1}},
      {"TransposedOnce", {12, 32}, {1, 32, 12, true}, {16, 4}},
      {"TransposedOnceF16ToF32", {12, 32}, {1, 32, 12, true}, {16, 4}, false, kF32, kF16},
      {"TransposedI8ToF32", {12, 32}, {1, 32, 12, true}, {16, 1}, false, kF32, DType::kI8},
      {"Lines1F16", {5, 12}, {1, 5, 12}, {1, 4}, false, kF16, kF16},
      {"", {32, 12}, {1, 32, 12}, {2, 1}},
      {"Lines2", out_in, outputs_first, {2, 8}, false, kF32, kF32, kFew},
      {"Lines2F16ToF32", out_in, outputs_first, {2, 8}, false, kF32, kF16, kFew},
      {"TransposedLines2", in_out, inputs_first, {16, 2}, false, kF32, kF32, kFew},
      {"TransposedOnce", in_out, inputs_first, {16, 4}, false, kF32, kF32, kFew}};
  for (const Case& c : cases) check_files(c);
}

int count_of(const pb::ModelProto& proto, std::string_view op) {
  return static_cast<int>(std::ranges::count_if(
      proto.graph().node(), [&](const pb::NodeProto& node) { return node.op_type() == op; }));
}

TEST_CASE("the bitmap of a large weight is decoded in stages, which the reader joins") {
  constexpr double kFew = 0.06;
  constexpr DType kF32 = DType::kF32;
  const Case cases[]{
      {"one stage", {4096, 2048}, {1, 4096, 2048}, {1, 1}, false, kF32, kF32, kFew},
      {"f16", {4096, 2048}, {1, 4096, 2048}, {1, 1}, false, kF32, DType::kF16, kFew},
      {"stacked", {2048, 4096}, {1, 4096, 2048, true}, {1, 1}, false, kF32, kF32, kFew},
      {"cut", {2049, 4097}, {1, 4097, 2049, true}, {1, 1}, false, kF32, DType::kI8, kFew}};
  for (const Case& c : cases) {
    CAPTURE(c.what);
    const SparseMatrix matrix = matrix_of(c);
    WriteOptions options = profile("inline", "bitmap");
    CHECK(count_of(proto_of(model_of(matrix), options), "If") == 0);
    options.stages = true;
    auto proto = proto_of(model_of(matrix), options);
    CHECK_NOTHROW(pb::checker::check_model(proto, true));
    CHECK(count_of(proto, "If") == (c.fold.transposed ? 2 : 1));
    CHECK(count_of(proto, "BitShift") == 0);
    const Model again = read_proto(proto);
    CHECK(again.graph.nodes.size() == 1);
    REQUIRE(again.graph.weights.size() == 1);
    REQUIRE(weight_named(again, "W").is_sparse());
    check_equal(weight_named(again, "W").sparse(), matrix);
    CHECK(difference(proto, proto_of(again, options)) == "");

    const auto flat = proto_of(model_of(matrix), profile("function", "bitmap"));
    CHECK(count_of(flat, "If") == 0);

    // The other branch is another weight.
    auto* initializers = proto.mutable_graph()->mutable_initializer();
    const auto yes = std::ranges::find_if(
        *initializers, [](const pb::TensorProto& t) { return t.name() == "decode/yes"; });
    REQUIRE(yes != initializers->end());
    yes->set_raw_data(std::string(1, '\0'));
    const Model other = read_proto(proto);
    CHECK(find_weight(other.graph, other.graph.nodes.back().inputs[0]) == nullptr);
    CHECK(std::ranges::any_of(other.graph.nodes, [](const Node& n) { return n.op == "If"; }));
  }
}

TEST_CASE("for onnxruntime large blocks take a bitmap where no index was asked for") {
  constexpr double kFew = 0.06;
  constexpr DType kF32 = DType::kF32;
  const auto has_bitmap = [](const SparseMatrix& matrix, const char* index) {
    WriteOptions options = profile("inline", index);
    options.stages = true;
    const auto proto = proto_of(model_of(matrix), options);
    CHECK_NOTHROW(pb::checker::check_model(proto, true));
    check_equal(weight_named(read_proto(proto), "W").sparse(), matrix);
    return std::ranges::any_of(proto.graph().initializer(), [](const pb::TensorProto& t) {
      return t.name().ends_with("/bitmap");
    });
  };
  const Case large{"", {4096, 2048}, {1, 4096, 2048}, {16, 1}, false, kF32, kF32, kFew};
  Case narrow = large, small = large;
  narrow.block = {8, 1};
  small.shape = {1024, 512}, small.fold = {1, 1024, 512};
  CHECK(has_bitmap(matrix_of(large), ""));
  CHECK(!has_bitmap(matrix_of(large), "grid"));
  CHECK(!has_bitmap(matrix_of(narrow), ""));
  CHECK(!has_bitmap(matrix_of(small), ""));
}

TEST_CASE("with a bitmap blocks are laid out before they have values") {
  constexpr DType kF32 = DType::kF32, kF16 = DType::kF16;
  const Case cases[]{
      {"TransposedBitmapLines1", {12, 32}, {1, 32, 12, true}, {16, 1}},
      {"TransposedBitmapCutOnce", {12, 32}, {1, 32, 12, true}, {16, 4}},
      {"TransposedBitmapI8ToF32", {12, 32}, {1, 32, 12, true}, {16, 1}, false, kF32, DType::kI8},
      {"BitmapCutLines1F16", {5, 12}, {1, 5, 12}, {1, 4}, false, kF16, kF16},
      {"BitmapLines1F16ToF32", {8, 12}, {1, 8, 12}, {1, 4}, false, kF32, kF16},
      {"Bitmap", {32, 12}, {1, 32, 12}, {2, 1}}};
  for (const Case& c : cases) check_files(c, "bitmap");
}

TEST_CASE("a grid of lines that is not that of the blocks is refused") {
  auto proto = proto_of(model_of(matrix_of({"", {12, 32}, {1, 32, 12, true}, {16, 1}})),
                        profile("function"));
  for (auto& tensor : *proto.mutable_graph()->mutable_initializer()) {
    if (tensor.name() == "W/grid") tensor.mutable_raw_data()->at(3 * sizeof(int64_t)) = 2;
  }
  CHECK(refusal(proto) == "packed weight W: grid is of lines 16x2, values are blocks 16x1");
}

TEST_CASE("functions of a newer version of ai.espalier are refused") {
  auto proto = proto_of(model_of(matrix_of(kCases[0])), profile("function"));
  CHECK(refusal(proto).empty());
  bool named = false;
  for (auto& import : *proto.mutable_opset_import()) {
    if (import.domain() != kDecodeDomain) continue;
    CHECK(import.version() == kPackedVersion);
    import.set_version(kPackedVersion + 1);
    named = true;
  }
  CHECK(named);
  CHECK(refusal(proto).find("needs a newer version") != std::string::npos);
}

TEST_CASE("the full checker takes every decode") {
  for (const Case& c : kCases) {
    for (const char* name : {"function", "inline", "dense"}) {
      for (const char* index : {"grid", "first-element", "bitmap"}) {
        for (const int64_t opset : {13, 17, 21}) {
          CAPTURE(c.what);
          CAPTURE(name);
          CAPTURE(index);
          CAPTURE(opset);
          const auto proto = proto_of(model_of(matrix_of(c), false, opset), profile(name, index));
          CHECK_NOTHROW(pb::checker::check_model(proto, /*full_check=*/true));
        }
      }
    }
  }
}

TEST_CASE("the dense profile stores the decoded weight under its name") {
  for (const Case& c : kCases) {
    for (const bool constant : {false, true}) {
      CAPTURE(c.what);
      CAPTURE(constant);
      const SparseMatrix matrix = matrix_of(c);
      const Model again = read_proto(proto_of(model_of(matrix, constant), profile("dense")));
      CHECK(again.graph.nodes.size() == (constant ? 2 : 1));
      CHECK(same_bits(weight_named(again, "W").dense(), decode(matrix)));
    }
  }
}

TEST_CASE("sparse tensors hold blocks of any shape without losing a bit") {
  set_log_level(LogLevel::kQuiet);  // some are stored dense, with a warning
  for (Case c : kCases) {
    c.kept = std::min(c.kept, 0.15);
    for (const char* name : {"sparse-value", "sparse-initializer"}) {
      for (const bool constant : {false, true}) {
        CAPTURE(c.what);
        CAPTURE(name);
        CAPTURE(constant);
        const SparseMatrix matrix = matrix_of(c);
        const Model again = read_proto(proto_of(model_of(matrix, constant), profile(name)));
        const Weight& weight = weight_named(again, "W");
        CHECK(same_bits(weight.is_sparse() ? decode(weight.sparse()) : weight.dense(),
                        decode(matrix)));
      }
    }
  }
}

TEST_CASE("f64 weights become sparse tensors on request, where that is smaller") {
  std::vector<double> values(60, 0);
  for (const bool many : {false, true}) {
    for (size_t i = 0; i < 60; i += many ? 1 : 7) values[i] = 0.1 * static_cast<double>(i) - 1.5;
    values[14] = -0.0;
    Model model = model_of(matrix_of(kCases[0]));
    const Tensor weight = Tensor::of<double>({6, 10}, values);
    model.graph.weights.begin()->second = Weight{weight, {}};
    for (Value& value : model.graph.values) value.dtype = DType::kF64, value.shape = Shape{6, 10};
    for (const char* name : {"sparse-value", "sparse-initializer", "function"}) {
      CAPTURE(many);
      CAPTURE(name);
      const auto proto = proto_of(model, profile(name, "grid"));
      const bool dense = many || std::string(name) == "function";
      CHECK(proto.graph().initializer_size() == (dense ? 1 : 0));
      CHECK(proto.graph().sparse_initializer_size() ==
            (!dense && std::string(name) == "sparse-initializer" ? 1 : 0));
      if (std::string(name) != "sparse-initializer")
        CHECK_NOTHROW(pb::checker::check_model(proto, true));
      CHECK(same_bits(weight_named(read_proto(proto), "W").dense(), weight));
    }
  }
}

TEST_CASE("a weight in a subgraph is packed there") {
  const SparseMatrix matrix = matrix_of(kCases[0]);
  Model model = model_of(matrix);
  auto inner = std::make_shared<Graph>(model.graph);
  Graph graph;
  const ValueId condition = add_value(graph, "c", DType::kBool, Shape{});
  const ValueId result = add_value(graph, "result", DType::kF32, matrix.shape);
  graph.inputs = {condition};
  graph.outputs = {result};
  Node node{"If", "", "if", {condition}, {result}, {}, {}};
  for (const char* branch : {"then_branch", "else_branch"})
    node.attributes.push_back({branch, std::shared_ptr<const Graph>(inner), {}});
  graph.nodes.push_back(std::move(node));
  graph.name = "outer";
  model.graph = std::move(graph);
  for (const char* name : {"function", "inline"}) {
    const auto proto = proto_of(model, profile(name));
    CHECK_NOTHROW(pb::checker::check_model(proto, true));
    CHECK(proto.functions_size() == (name == std::string("function") ? 1 : 0));
    const Model again = read_proto(proto);
    size_t packed = 0;
    for_each_graph(again.graph, [&](const Graph& part, const std::string&) {
      for (const auto& [id, weight] : part.weights) {
        CHECK(part.values[id].name == "W");
        REQUIRE(weight.is_sparse());
        check_equal(weight.sparse(), matrix);
        ++packed;
      }
    });
    CHECK(packed == 2);
  }
}

TEST_CASE("a weight between other nodes keeps its place") {
  Model model = model_of(matrix_of(kCases[0]), true);
  Graph& graph = model.graph;
  const ValueId first = add_value(graph, "first", DType::kF32, Shape{32, 12});
  const ValueId x = add_value(graph, "x", DType::kF32, Shape{32, 12});
  graph.inputs.push_back(x);
  graph.outputs.push_back(first);
  graph.nodes.insert(graph.nodes.begin(), {"Relu", "", "r", {x}, {first}, {}, {}});
  for (const char* name : {"function", "inline"}) {
    const auto proto = proto_of(model, profile(name));
    CHECK(proto.graph().node(0).op_type() == "Relu");
    const Model again = read_proto(proto);
    REQUIRE(again.graph.nodes.size() == 3);
    CHECK(again.graph.nodes[1].op == "Constant");
    CHECK(weight_named(again, "W").is_sparse());
    CHECK(difference(proto, proto_of(again)) == "");
    CHECK(same_bits(weight_named(read_proto(proto_of(again, profile("dense"))), "W").dense(),
                    decode(matrix_of(kCases[0]))));
  }
}

TEST_CASE("the default profile is inline, and decodes share their small parts") {
  const SparseMatrix matrix =
      matrix_of({"", {33, 12}, {1, 33, 12}, {16, 4}});  // cut off: constants
  Model model = model_of(matrix);
  const ValueId x = add_value(model.graph, "x", DType::kF32, Shape{33, 12});
  const ValueId y = add_value(model.graph, "z", DType::kF32, Shape{33, 12});
  const ValueId other = add_value(model.graph, "V", DType::kF32, Shape{33, 12});
  model.graph.weights.emplace(other, Weight{matrix, {}});
  model.graph.inputs.push_back(x);
  model.graph.outputs.push_back(y);
  model.graph.nodes.push_back({"Add", "", "add", {x, other}, {y}, {}, {}});
  const auto proto = proto_of(model);
  CHECK_NOTHROW(pb::checker::check_model(proto, true));
  CHECK(difference(proto, proto_of(model, profile("inline"))) == "");
  CHECK(proto.functions_size() == 0);
  std::map<std::string, size_t> parts;
  for (const auto& tensor : proto.graph().initializer())
    ++parts[tensor.name().substr(tensor.name().find('/') + 1)];
  CHECK(parts.at("values") == 2);
  for (const char* shared : {"grid", "padded", "extent", "origin", "axes"}) {  // shape = extent
    CAPTURE(shared);
    CHECK(parts.at(shared) == 1);
  }
  const Model again = read_proto(proto);
  CHECK(again.graph.weights.size() == 2);
  CHECK(again.graph.nodes.size() == model.graph.nodes.size());
  for (const char* name : {"W", "V"}) check_equal(weight_named(again, name).sparse(), matrix);
  CHECK(difference(proto, proto_of(again)) == "");
}

TEST_CASE("names of parts give way to names that are taken") {
  Model model = model_of(matrix_of(kCases[0]));
  const ValueId other = add_value(model.graph, "W/values", DType::kF32, Shape{1});
  model.graph.weights.emplace(other, Weight{Tensor::of<float>({1}, std::vector<float>{5.0F}), {}});
  const Model again = read_proto(proto_of(model));
  CHECK(to_f32(weight_named(again, "W/values").dense()) == std::vector<float>{5.0F});
  check_equal(weight_named(again, "W").sparse(), matrix_of(kCases[0]));
}

TEST_CASE("every form has a name of its own") {
  std::map<std::string, size_t> names;
  for (const DecodeForm& form : all_decode_forms()) ++names[decode_name(form)];
  for (const auto& [name, count] : names) {
    CAPTURE(name);
    CHECK(count == 1);
  }
  CHECK(names.contains("BlockSparseDecode"));
  CHECK(names.contains("BlockSparseDecodeTransposedRaggedWithDiagonalFirstElementF16ToF32"));
  CHECK(names.contains("BlockSparseDecodeI8ToF32"));
  CHECK(names.contains("BlockSparseDecodeRaggedBitmapF16ToF32"));
  CHECK(names.contains("BlockSparseDecodeTransposedBitmapElementsCutF16ToF32"));
}

TEST_CASE("below opset 11 the model is raised, or the weight is stored dense") {
  SparseMatrix matrix = matrix_of({"", {32, 12}, {1, 32, 12}, {16, 1}});
  Model model = model_of(matrix, false, 9);
  model.origin.format = "onnx";
  SUBCASE("raised") {
    const auto proto = proto_of(model, profile("function"));
    CHECK(proto.functions_size() == 1);
    CHECK(proto.opset_import(0).version() == 11);
    CHECK_NOTHROW(pb::checker::check_model(proto, true));
    check_equal(weight_named(read_proto(proto), "W").sparse(), matrix);
  }
  SUBCASE("dense, where the converter would not do") {
    set_log_level(LogLevel::kQuiet);
    model.graph.nodes[0].domain = "com.example";
    const auto proto = proto_of(model);
    CHECK(proto.graph().node_size() == 1);
    CHECK(proto.graph().initializer_size() == 1);
  }
}

TEST_CASE("a function of espalier's name with another body is not taken for espalier's") {
  auto proto = proto_of(model_of(matrix_of(kCases[0])), profile("function"));
  auto& body = *proto.mutable_functions(0);
  body.mutable_node(body.node_size() - 1)->set_op_type("Identity");
  const Model model = read_proto(proto);
  CHECK(model.graph.nodes.size() == 2);
  CHECK(difference(proto, proto_of(model)) == "");
}

// The parts of a written call, by input name, for tests to damage.
pb::TensorProto& part(pb::ModelProto& proto, const std::string& name) {
  for (auto& tensor : *proto.mutable_graph()->mutable_initializer()) {
    if (tensor.name() == "W/" + name) return tensor;
  }
  FAIL("no part of that name");
  return *proto.mutable_graph()->mutable_initializer(0);
}

TEST_CASE("a call whose parts break a rule is refused, with weight and place") {
  auto proto = proto_of(model_of(matrix_of(kCases[0])), profile("function"));  // [32, 12] in 16x1
  const auto edit = [](pb::TensorProto& tensor, size_t at, auto value) {
    std::string raw = tensor.raw_data();
    std::memcpy(raw.data() + at * sizeof(value), &value, sizeof(value));
    tensor.set_raw_data(raw);
  };
  SUBCASE("rows out of order") {
    edit(part(proto, "index"), 0, uint16_t{1});
    CHECK(
        refusal(proto).starts_with("packed weight W: block 1 is in block row 0 after block row 1"));
  }
  SUBCASE("row outside") {
    edit(part(proto, "index"), 0, uint16_t{7});
    CHECK(refusal(proto) == "packed weight W: block 0 is in block row 7, the grid has 2");
  }
  SUBCASE("column outside") {
    edit(part(proto, "index"), 1, uint16_t{12});
    CHECK(refusal(proto) == "packed weight W: block 0 is in block column 12, the grid has 12");
  }
  SUBCASE("grid of another weight") {
    edit(part(proto, "grid"), 0, int64_t{3});
    CHECK(refusal(proto) == "packed weight W: 1 matrices [48, 12] do not fill the shape [32, 12]");
  }
  SUBCASE("grid that overflows") {
    edit(part(proto, "grid"), 0, int64_t{1} << 62);
    CHECK(refusal(proto).starts_with("packed weight W: grid holds "));
  }
  SUBCASE("shape out of proportion") {
    edit(part(proto, "shape"), 0, int64_t{1} << 40);
    CHECK(refusal(proto).find(" bytes unpack to ") != std::string::npos);
  }
  SUBCASE("values of another type") {
    part(proto, "values").set_data_type(pb::TensorProto::INT32);
    CHECK(refusal(proto) == "packed weight W: values are i32, expected f32");
  }
}

TEST_CASE("a bitmap that is too short, too long or has other bits than values is refused") {
  const SparseMatrix matrix = matrix_of(kCases[2]);  // [7, 5] in 1x1: 35 bits in 5 bytes
  auto proto = proto_of(model_of(matrix), profile("function", "bitmap"));
  pb::TensorProto& bitmap = part(proto, "bitmap");
  std::string raw = bitmap.raw_data();
  REQUIRE(raw.size() == 5);
  const auto set = [&](size_t byte, int bits) {
    raw[byte] = static_cast<char>(bits);
    bitmap.set_raw_data(raw);
  };
  const auto resize = [&](size_t size) {
    raw.resize(size);
    bitmap.set_raw_data(raw);
    bitmap.set_dims(0, static_cast<int64_t>(size));
  };
  const std::string start = "packed weight W: ";
  SUBCASE("too short") {
    resize(4);
    CHECK(refusal(proto) == start +
                                "bitmap is u8 of shape [4], expected u8 of shape [5] for a grid "
                                "of 35 blocks");
  }
  SUBCASE("too long") {
    resize(6);
    CHECK(refusal(proto).starts_with(start + "bitmap is u8 of shape [6]"));
  }
  SUBCASE("more bits than values") {
    set(0, 0xFF), set(1, 0xFF), set(2, 0xFF), set(3, 0xFF), set(4, 0xE0);
    CHECK(refusal(proto) == fmt::format("{}bitmap has 35 bits set, there are {} blocks of values",
                                        start, matrix.blocks()));
  }
  SUBCASE("fewer bits than values") {
    set(0, 0), set(1, 0), set(2, 0), set(3, 0), set(4, 0);
    CHECK(refusal(proto) == fmt::format("{}bitmap has 0 bits set, there are {} blocks of values",
                                        start, matrix.blocks()));
  }
  SUBCASE("a bit behind the grid") {
    set(4, static_cast<unsigned char>(raw[4]) | 0x10);
    CHECK(refusal(proto) == start + "bitmap has bit 35 set, the grid has 35 blocks");
  }
  SUBCASE("another count") {
    std::string count = part(proto, "count").raw_data();
    count[0] = 34;
    part(proto, "count").set_raw_data(count);
    CHECK(refusal(proto) == start + "count is 34, the grid has 35 blocks");
  }
  SUBCASE("another type") {
    bitmap.set_data_type(pb::TensorProto::INT8);
    CHECK(refusal(proto).starts_with(start + "bitmap is i8 of shape [5], expected u8"));
  }
}

TEST_CASE("a bitmap of whole bytes names no grid, its weight must be a matrix of such a size") {
  const Case even{"even", {8, 6}, {1, 8, 6}, {1, 1}, false, DType::kF32, DType::kF32, 0.5};
  auto proto = proto_of(model_of(matrix_of(even)), profile("function", "bitmap"));
  CHECK(proto.functions(0).name() == "BlockSparseDecodeBitmapElements");
  pb::TensorProto& shape = part(proto, "shape");
  const auto set = [&](const std::vector<int64_t>& extents) {
    shape.set_raw_data(std::string(as_text(std::as_bytes(std::span(extents)))));
    shape.set_dims(0, static_cast<int64_t>(extents.size()));
  };
  const std::string start = "packed weight W: ";
  SUBCASE("smaller") {
    set({8, 5});
    CHECK(
        refusal(proto).starts_with(start + "bitmap is u8 of shape [6], expected u8 of shape [5]"));
  }
  SUBCASE("no whole bytes") {
    set({9, 5});
    CHECK(refusal(proto) == start + "the grid has 45 blocks, expected whole bytes");
  }
  SUBCASE("no matrix") {
    set({48});
    CHECK(refusal(proto) == start + "shape is [48], expected a matrix");
  }
}

TEST_CASE("without a choice of index the one that takes fewer bytes is written") {
  for (const auto& [density, form] : {std::pair{0.01, "BlockSparseDecodeLines1"},
                                      {0.2, "BlockSparseDecodeBitmapElements"},
                                      {0.5, "BlockSparseDecodeBitmapElements"}}) {
    const Case one{"", {128, 64}, {1, 128, 64}, {1, 1}, false, DType::kF32, DType::kF32, density};
    const SparseMatrix matrix = matrix_of(one);
    const auto proto = proto_of(model_of(matrix), profile("function", ""));
    CHECK(proto.functions(0).name() == form);
    size_t bytes = 0;
    for (const auto& tensor : proto.graph().initializer()) {
      if (tensor.name() == "W/values" || tensor.name() == "W/index" || tensor.name() == "W/bitmap")
        bytes += tensor.raw_data().size();
    }
    CHECK(bytes == packed_bytes(matrix));
  }
}

TEST_CASE("a bitmap takes a bit for each block") {
  const Case half{"half", {128, 128}, {1, 128, 128}, {1, 1}, false, DType::kF32, DType::kF32, 0.5};
  const auto proto = proto_of(model_of(matrix_of(half)), profile("inline", "bitmap"));
  size_t bytes = 0;
  for (const auto& tensor : proto.graph().initializer()) bytes += tensor.raw_data().size();
  CHECK(bytes < 128 * 128 * 4 * 55 / 100);
}

TEST_CASE("a scale: one for each output or for all, f32, finite, not below zero") {
  const SparseMatrix matrix =
      matrix_of({"", {32, 12}, {1, 32, 12}, {16, 1}, false, DType::kF32, DType::kI8});
  auto proto = proto_of(model_of(matrix), profile("function"));
  pb::TensorProto& scale = part(proto, "scale");
  const auto set = [&](const std::vector<float>& values) {
    scale.set_raw_data(std::string(as_text(std::as_bytes(std::span(values)))));
  };
  SUBCASE("one for all") {
    for (int axis = 0; axis < 3; ++axis) scale.set_dims(axis, 1);
    set({0.5F});
    SparseMatrix wanted = matrix;
    wanted.scale = Tensor::of<float>({32}, std::vector<float>(32, 0.5F));
    check_equal(weight_named(read_proto(proto), "W").sparse(), wanted);
  }
  SUBCASE("another shape") {
    scale.set_dims(1, 16);
    set(std::vector<float>(16, 1));
    CHECK(refusal(proto) ==
          "packed weight W: scale is f32 of shape [1, 16, 1], expected f32 of shape [1, 32, 1] or "
          "[1, 1, 1]");
  }
  SUBCASE("another type") {
    scale.set_data_type(pb::TensorProto::INT32);
    CHECK(refusal(proto).starts_with("packed weight W: scale is i32 of shape [1, 32, 1]"));
  }
  SUBCASE("no size of a step") {
    for (const float bad : {-1.0F, INFINITY, NAN}) {
      set(std::vector<float>(32, bad));
      CHECK(refusal(proto).starts_with("packed weight W: scale holds "));
    }
  }
}

}  // namespace
}  // namespace espalier
