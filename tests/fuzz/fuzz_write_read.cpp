#include <cmath>

#include "formats/nnef/read/graph.h"
#include "formats/nnef/write/graph.h"
#include "formats/onnx/onnx_model.h"
#include "lib/base/check.h"
#include "lib/base/log.h"
#include "lib/runtime/executor.h"
#include "lib/sparse/pack.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

using namespace espalier;

// A chain of layers over x [2, width], with names, blocks and values as the fuzzer chooses them.
class Chain {
 public:
  explicit Chain(FuzzInput& input) : input_(input) {
    width_ = static_cast<int64_t>(input_.between(1, 24));
    last_ = value(width_);
    model.graph.inputs = {last_};
    for (size_t layers = 1 + input_.byte() % 5; layers > 0; --layers) add_layer();
    model.graph.outputs = {last_};
    model.origin.format = "onnx";
    model.origin.opset = 17;
  }

  Model model;

 private:
  // Names are unique and otherwise anything.
  std::string name() {
    const std::string number = std::to_string(names_++);
    return input_.byte() % 4 == 0 ? number + "_" + input_.text() : "v" + number;
  }
  ValueId value(int64_t width) {
    return add_value(model.graph, name(), DType::kF32, Shape{2, width});
  }

  ValueId weight(Shape shape, bool may_be_packed, Fold fold) {
    const size_t count = element_count(shape);
    std::vector<float> few = input_.values(16), many(count);
    for (size_t i = 0; i < count; ++i) many[i] = few[(i * 7 + i / 16) % 16];
    const Tensor dense = Tensor::of<float>(shape, many);
    const ValueId id = add_value(model.graph, name(), DType::kF32, shape);
    if (!may_be_packed || input_.coin()) {
      model.graph.weights[id] = {dense, {}};
      return id;
    }
    constexpr BlockShape kBlocks[] = {{16, 1}, {8, 4}, {4, 8}, {1, 1}, {5, 3}, {1, 4}};
    BlockMask mask(input_.one_of(kBlocks), fold, false);
    for (size_t i = 0; i < mask.blocks(); ++i) mask.kept[i] = input_.byte() % 3 == 0;
    SparseMatrix packed = pack_blocks(dense, fold, mask, fold.rows == fold.cols && input_.coin());
    constexpr DType kTypes[] = {DType::kF32, DType::kF32, DType::kF16, DType::kI8};
    model.graph.weights[id] = {with_values(packed, input_.one_of(kTypes)), {}};
    return id;
  }

  void node(const char* op, std::vector<ValueId> inputs, int64_t width) {
    const ValueId made = value(width);
    model.graph.nodes.push_back({op, "", name(), std::move(inputs), {made}, {}, {}});
    last_ = made;
    width_ = width;
  }

  void add_layer() {
    constexpr const char* kPlain[] = {"Relu", "Tanh", "Sigmoid", "Neg", "LogSoftmax", "Softmax"};
    const uint8_t kind = input_.byte() % 4;
    const auto out = static_cast<int64_t>(input_.between(1, 24));
    const auto rows = static_cast<size_t>(out), cols = static_cast<size_t>(width_);
    if (kind == 0) {
      node("MatMul", {last_, weight({width_, out}, true, {1, rows, cols, true})}, out);
    } else if (kind == 1) {
      const ValueId w = weight({out, width_}, true, {1, rows, cols, false});
      node("Gemm", {last_, w, weight({out}, false, {})}, out);
      set_attribute(model.graph.nodes.back(), "transB", int64_t{1});
    } else if (kind == 2) {
      node(input_.coin() ? "Add" : "Mul", {last_, weight({width_}, false, {})}, width_);
    } else {
      node(input_.one_of(kPlain), {last_}, width_);
    }
  }

  FuzzInput& input_;
  size_t names_ = 0;
  int64_t width_ = 0;
  ValueId last_ = 0;
};

std::vector<float> outputs_of(const Model& model) {
  Executor executor(model, {.threads = 1, .exact_values = true});
  const Value& input = model.graph.values[model.graph.inputs.at(0)];
  std::vector<float> x(element_count(*input.shape));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7) / 4 - 0.75F;
  const Feed result = executor.run({{input.name, Tensor::of<float>(*input.shape, x)}});
  return to_f32(result.at(model.graph.values[model.graph.outputs.at(0)].name));
}

void check_equal(const std::vector<float>& a, const std::vector<float>& b) {
  ESPALIER_CHECK(a.size() == b.size());
  double largest = 0;
  for (const float v : a) {
    if (std::isfinite(v)) largest = std::max<double>(largest, std::abs(v));
  }
  for (size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i])) continue;
    ESPALIER_CHECK(std::abs(a[i] - b[i]) <= 1e-4 + 1e-3 * largest);
  }
}

// Weights keep name, shape and every bit.
void check_weights(const Model& a, const Model& b) {
  std::map<std::string, Tensor> found;
  const auto dense = [](const Weight& w) { return w.is_sparse() ? decode(w.sparse()) : w.dense(); };
  for (const auto& [id, weight] : b.graph.weights)
    found.emplace(b.graph.values[id].name, dense(weight));
  for (const auto& [id, weight] : a.graph.weights) {
    const auto other = found.find(a.graph.values[id].name);
    ESPALIER_CHECK(other != found.end());
    ESPALIER_CHECK(to_f32(other->second) == to_f32(dense(weight)));
  }
}

Model through_onnx(const Model& model, const char* profile, const char* index) {
  WriteOptions options;
  options.profile = profile;
  options.index = index;
  const auto bytes = std::make_shared<const std::string>(onnx_bytes(model, options));
  return read_onnx(as_bytes(*bytes), bytes, std::nullopt);
}

Model through_nnef(const Model& model, const char* profile, const char* index) {
  WriteOptions options;
  options.profile = profile;
  options.index = index;
  const nnef::Spelled written = nnef::spell(model, options);
  std::map<std::string, Tensor, std::less<>> variables;
  for (const nnef::Variable& variable : written.variables)
    variables.emplace(variable.label, variable.make());
  return nnef::translate(nnef::parse_document(written.graph),
                         [&](std::string_view label) { return variables.find(label)->second; });
}

// What a format refuses to write is told before; what it writes must be read again.
template <typename Through>
std::optional<Model> written_and_read(const Through& through) {
  try {
    return through();
  } catch (const Error& error) {
    ESPALIER_CHECK(error.fault() == Fault::kUnsupported);
    return std::nullopt;
  }
}

}  // namespace

// What is written in any profile of any format is read as a model that has the same weights and
// computes the same.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  set_log_level(LogLevel::kQuiet);
  FuzzInput input(data, size);
  const Model model = Chain(input).model;
  const std::vector<float> wanted = outputs_of(model);
  constexpr const char* kOnnx[] = {"function", "inline", "sparse-value", "sparse-initializer",
                                   "dense"};
  constexpr const char* kIndices[] = {"grid", "bitmap"};
  const char* const onnx = input.one_of(kOnnx);
  const char* const index_of_onnx = input.one_of(kIndices);
  if (const auto read =
          written_and_read([&] { return through_onnx(model, onnx, index_of_onnx); })) {
    check_weights(model, *read);
    check_equal(wanted, outputs_of(*read));
  }
  constexpr std::pair<const char*, const char*> kNnef[] = {
      {"tract", "grid"},    {"tract", "first-element"}, {"tract", "mask"},
      {"portable", "grid"}, {"tract", "bitmap"},        {"opaque", "bitmap"},
      {"operator", "grid"}, {"opaque", "grid"},         {"dense", "grid"}};
  const auto [profile, index] = input.one_of(kNnef);
  const char *name = profile, *places = index;
  if (const auto read = written_and_read([&] { return through_nnef(model, name, places); }))
    check_equal(wanted, outputs_of(*read));
  return 0;
}
