// Whole models of ../shared/models against the outputs stored beside them (made by onnxruntime).

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <vector>

#include "formats/format.h"
#include "formats/onnx/tensor_file.h"
#include "lib/runtime/executor.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

fs::path shared_models() {
  const char* shared = std::getenv("ESPALIER_SHARED");
  return fs::path(shared != nullptr ? shared : ESPALIER_SOURCE_DIR "/../shared") / "models";
}

std::vector<fs::path> folders_of(const fs::path& folder, const std::string& prefix) {
  std::vector<fs::path> result;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_directory() && entry.path().filename().string().starts_with(prefix)) {
      result.push_back(entry.path());
    }
  }
  std::ranges::sort(result);
  return result;
}

// input_0.pb ... in the order of `names`.
Feed read_feed(const fs::path& folder, const std::string& kind,
               const std::vector<std::string>& names) {
  Feed feed;
  for (size_t i = 0; i < names.size(); ++i) {
    const fs::path file = folder / (kind + "_" + std::to_string(i) + ".pb");
    if (fs::exists(file)) feed[names[i]] = read_tensor_proto_file(file).second;
  }
  return feed;
}

std::vector<std::string> names_of(const Graph& graph, const std::vector<ValueId>& values) {
  std::vector<std::string> names;
  for (const ValueId value : values) {
    if (!graph.weights.contains(value)) names.push_back(graph.values[value].name);
  }
  return names;
}

// Largest difference over the largest magnitude of the output.
double relative_difference(const Tensor& wanted, const Tensor& got) {
  REQUIRE(wanted.shape() == got.shape());
  const std::vector<float> a = to_f32(wanted), b = to_f32(got);
  double most = 1e-6, difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::fabs(static_cast<double>(a[i])));
    const double apart = std::fabs(static_cast<double>(a[i]) - b[i]);
    difference = std::max(difference, std::isnan(apart) ? HUGE_VAL : apart);
  }
  return difference / most;
}

TEST_CASE("every shared model gives the outputs stored beside it") {
  if (!fs::exists(shared_models())) {
    std::cout << "skipped: " << shared_models() << " is not there\n";
    return;
  }
  for (const fs::path& folder : folders_of(shared_models(), "")) {
    CAPTURE(folder.filename().string());
    const Model model = read_model(folder / "model.onnx");
    REQUIRE(unsupported_operators(model).empty());
    const auto inputs = names_of(model.graph, model.graph.inputs);
    const auto outputs = names_of(model.graph, model.graph.outputs);
    for (const size_t threads : {1, 2}) {
      Executor executor(model, {.threads = threads});
      for (const fs::path& set : folders_of(folder, "test_data_set")) {
        CAPTURE(set.filename().string());
        const Feed feed = read_feed(set, "input", inputs);
        // Passes change roundings alone.
        const Feed plain =
            Executor(model, {.threads = threads, .passes = PassOptions::none()}).run(feed);
        // The first run records its memory, the second has it planned.
        for (int run = 0; run < 2; ++run) {
          const Feed got = executor.run(feed);
          for (const auto& [name, wanted] : read_feed(set, "output", outputs)) {
            CAPTURE(name);
            CHECK(relative_difference(wanted, got.at(name)) < 1e-4);
            CHECK(relative_difference(plain.at(name), got.at(name)) < 5e-5);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace espalier
