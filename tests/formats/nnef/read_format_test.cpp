// Whole files: the shared examples, hostile files, and models written and read back.
#include <doctest/doctest.h>

#include <cmath>
#include <fstream>

#include "formats/archive/archive.h"
#include "formats/format.h"
#include "formats/npy/npy.h"
#include "lib/base/error.h"
#include "lib/runtime/executor.h"
#include "lib/sparse/pack.h"
#include "tests/formats/nnef/read/cases.h"
#include "tests/support/shared_files.h"
#include "tests/support/temporary_folder.h"

namespace espalier::nnef {
namespace {

namespace fs = std::filesystem;

double largest_difference(const Tensor& a, const Tensor& b) {
  const std::vector<float> left = to_f32(a), right = to_f32(b);
  REQUIRE(left.size() == right.size());
  double result = 0;
  for (size_t i = 0; i < left.size(); ++i) {
    const double difference = std::abs(static_cast<double>(left[i]) - right[i]);
    result = std::isnan(difference) ? INFINITY : std::max(result, difference);
  }
  return result;
}

Tensor run_one(const Model& model, const Tensor& x) {
  Executor executor(model, {});
  const Graph& graph = model.graph;
  return executor.run({{graph.values[graph.inputs[0]].name, x}})
      .at(graph.values[graph.outputs[0]].name);
}

// dense.npy is the weight with scale and diagonal applied.
bool holds(const Model& model, const Tensor& dense) {
  return std::ranges::any_of(model.graph.weights, [&](const auto& entry) {
    if (!entry.second.is_sparse()) return false;
    const Tensor decoded = decode(entry.second.sparse());
    return decoded.count() == dense.count() && to_f32(decoded) == to_f32(dense);
  });
}

TEST_CASE("packed weights carry their version, and a newer one is refused") {
  const TemporaryFolder folder;
  Model model;
  model.origin.format = "test";
  model.origin.opset = kNnefOpset;
  const ValueId w = add_value(model.graph, "w", DType::kF32, Shape{32, 4});
  const ValueId y = add_value(model.graph, "y", DType::kF32, Shape{32, 4});
  const Fold fold{1, 32, 4};
  const Tensor dense = Tensor::of<float>({32, 4}, std::vector<float>(128, 1.5F));
  model.graph.weights.emplace(
      w, Weight{pack_blocks(dense, fold, BlockMask({16, 1}, fold, true), false), {}});
  model.graph.nodes.push_back({"Neg", "", "neg", {w}, {y}, {}, {}});
  model.graph.outputs = {y};
  write_model(model, folder / "model");
  const fs::path path = folder / "model" / kGraphFile;
  std::ifstream file(path);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const size_t at = text.find("\n# ai.espalier 1\n");
  REQUIRE(at != std::string::npos);
  CHECK_NOTHROW(read_model(folder / "model"));
  const auto with_version = [&](const std::string& version) {
    std::ofstream(path) << std::string(text).replace(at, 17, "\n# ai.espalier " + version + "\n");
    try {
      read_model(folder / "model");
      return std::string();
    } catch (const Error& error) {
      return std::string(error.what());
    }
  };
  CHECK(with_version("2").find("needs a newer version") != std::string::npos);
  CHECK(with_version("1000000").find("needs a newer version") != std::string::npos);
  CHECK(with_version("one").empty());  // any other comment
}

TEST_CASE("every sparse example reads to its dense weight and computes its output") {
  const auto folder = shared_path("nnef-examples/sparse");
  if (!folder) return;
  size_t examples = 0;
  for (const auto& entry : fs::directory_iterator(*folder)) {
    if (!fs::exists(entry.path() / "model")) continue;
    CAPTURE(entry.path().filename().string());
    ++examples;
    const Model model = read_model(entry.path() / "model");
    CHECK(holds(model, read_npy_file(entry.path() / "dense.npy")));
    const Tensor y = read_npy_file(entry.path() / "y.npy");
    CHECK(largest_difference(run_one(model, read_npy_file(entry.path() / "x.npy")), y) < 1e-4);
  }
  CHECK(examples == 13);
}

TEST_CASE("what tract and Khronos export computes what onnxruntime did") {
  const auto folder = shared_path("nnef-examples");
  if (!folder) return;
  struct Export {
    std::string_view file, data;
  };
  for (const Export& one : {Export{"tract-exported/mlp/mlp.nnef.tar", "tract-exported/mlp"},
                            Export{"tract-exported/mlp/mlp.nnef.tgz", "tract-exported/mlp"},
                            Export{"tract-exported/cnn/cnn.nnef.tar", "tract-exported/cnn"},
                            Export{"tract-exported/gru/gru.nnef.tar", "tract-exported/gru"},
                            Export{"khronos-exported/mlp", "tract-exported/mlp"},
                            Export{"khronos-exported/cnn", "tract-exported/cnn"}}) {
    CAPTURE(one.file);
    const Model model = read_model(*folder / one.file);
    const Tensor x = read_npy_file(*folder / one.data / "input_x.npy");
    const Tensor y = read_npy_file(*folder / one.data / "output_y.npy");
    CHECK(largest_difference(run_one(model, x), y) < 1e-4);
  }
}

TEST_CASE("containers are known by their bytes, whatever they are called") {
  const TemporaryFolder folder;
  const std::string text =
      "version 1.0;\ngraph g( x ) -> ( y ) { x = external(shape = [2]); y = relu(x); }\n";
  const auto fill = [&](const AddMember& add) { add("graph.nnef", {as_bytes(text)}); };
  for (const auto& [made, name] : {std::pair<std::string, std::string>{"a.tgz", "model.bin"},
                                   {"b.tar.gz", "model.tar"},
                                   {"c.tar", "model.tgz"}}) {
    CAPTURE(made);
    write_archive(folder / made, fill, [](const fs::path&) { return false; });
    fs::rename(folder / made, folder / name);
    CHECK(read_model(folder / name).graph.nodes.size() == 1);
  }
  std::ofstream(folder / "model.nnef") << "PK\x03\x04 and more";
  CHECK_THROWS_WITH(read_model(folder / "model.nnef"),
                    doctest::Contains("it is a zip archive, but NNEF is read from a folder, a tar or"));
}

TEST_CASE("hostile files get the right verdict") {
  const auto folder = shared_path("hostile/cases");
  if (!folder) return;
  for (const std::string good : {"good_nnef", "good_tar.tar", "good_tgz.tgz"}) {
    CAPTURE(good);
    CHECK_NOTHROW(static_cast<void>(read_model(*folder / good)));
  }
  for (const auto& entry : fs::directory_iterator(*folder)) {
    const std::string name = entry.path().filename().string();
    const bool bad =
        name.starts_with("nnef_") || name.starts_with("tar_") || name == "tgz_bomb.tgz";
    if (!bad) continue;
    CAPTURE(name);
    CHECK_THROWS_AS(static_cast<void>(read_model(entry.path())), Error);
  }
}

// Weights by name, decoded; what is no weight of the file (axes, shapes) has another type.
std::map<std::string, Tensor> float_weights(const Model& model) {
  std::map<std::string, Tensor> result;
  for (const auto& [id, weight] : model.graph.weights) {
    if (!is_float(weight.dtype()) || element_count(weight.shape()) < 2) continue;
    result.emplace(model.graph.values[id].name,
                   weight.is_sparse() ? decode(weight.sparse()) : weight.dense());
  }
  return result;
}

TEST_CASE("models written as NNEF come back with the same weights and compute the same") {
  const auto folder = shared_path("models");
  if (!folder) return;
  const TemporaryFolder temporary;
  for (const std::string name : {"mlp_digits", "cnn_digits", "gru_digits", "bandgru_denoise",
                                 "silero_vad_16k_sequence", "dtln_1"}) {
    CAPTURE(name);
    const Model onnx = read_model(*folder / name / "model.onnx");
    for (const std::string ending : {"", ".nnef.tar", ".nnef.tgz"}) {
      const fs::path path = temporary / (name + ending);
      WriteOptions options;
      options.profile = "dense";
      write_model(onnx, path, options);
      const Model nnef = read_model(path);
      const auto before = float_weights(onnx), after = float_weights(nnef);
      for (const auto& [weight, tensor] : before) {
        CAPTURE(weight);
        // Labels differ in more than case: W and w are W and w_1.
        const auto found = after.contains(weight) ? after.find(weight) : after.find(weight + "_1");
        REQUIRE(found != after.end());
        CHECK(same_bits(found->second, tensor));
      }
      // Nothing is left that the runtime does not know.
      CHECK(unsupported_operators(nnef).empty());
    }
  }
}

}  // namespace
}  // namespace espalier::nnef
