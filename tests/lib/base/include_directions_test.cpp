// Reads the #include lines of lib, formats and apps and lists those that go against the picture of
// docs/architecture.md: upwards, sideways, or to a third party outside of its fence.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using Names = std::set<std::string>;

// Each module, and the modules right below it. A module may include what is anywhere below.
const std::map<std::string, Names> kBelow{
    {"lib/base", {}},
    {"lib/tensor", {"lib/base"}},
    {"lib/sparse", {"lib/tensor"}},
    {"lib/ir", {"lib/sparse"}},
    {"lib/kernels", {"lib/sparse"}},
    {"lib/c/kernels", {"lib/kernels"}},
    {"lib/ops", {"lib/ir", "lib/kernels"}},
    {"lib/passes", {"lib/ops"}},
    {"lib/runtime", {"lib/passes"}},
    {"lib/prune", {"lib/ops"}},
    {"lib/calibrate", {"lib/runtime", "lib/prune"}},
    {"lib/verify", {"lib/runtime", "lib/prune"}},
    {"lib/report", {"lib/verify"}},
    {"lib/search", {"lib/report", "lib/calibrate"}},
    {"formats/model_facts.h", {"lib/ir"}},
    {"formats/format.h", {"lib/ir"}},  // the record that each format fills in
    {"formats/npy", {"lib/tensor"}},
    {"formats/archive", {"lib/base"}},
    {"formats/onnx", {"lib/ops", "formats/format.h", "formats/model_facts.h"}},
    {"formats/nnef", {"lib/ops", "formats/format.h", "formats/archive"}},
    {"formats", {"formats/onnx", "formats/nnef", "formats/npy"}},
    {"lib/c/models", {"lib/c/kernels", "lib/runtime", "formats"}},
    {"apps", {"lib/search", "formats"}},
};

// Where a third party's headers start, and the paths that may include them.
const std::map<std::string, Names> kFences{
    {"onnx/", {"formats/onnx/"}},
    {"google/protobuf/", {"formats/onnx/"}},
    {"archive.h", {"formats/archive/", "formats/npy/"}},
    {"archive_entry.h", {"formats/archive/", "formats/npy/"}},
    {"zlib.h", {"formats/archive/"}},
    {"hwy/", {"lib/kernels/"}},
    {"dnnl", {"lib/kernels/"}},
    {"oneapi/", {"lib/kernels/"}},
    {"re2/", {"lib/prune/"}},
    {"Eigen/", {"lib/prune/"}},
    {"nlohmann/",
     {"lib/report/", "lib/prune/options/plan_json", "lib/calibrate/statistics_file",
      "lib/search/machine_file", "apps/espalier/against_onnxruntime"}},
    {"CLI/", {"apps/"}},
    {"spdlog/", {"lib/base/log.cpp"}},
    {"doctest/", {}},
    {"benchmark/", {}},
};

// The module with the longest name that holds the file; "" where there is none.
std::string module_of(const std::string& file) {
  std::string best;
  for (const auto& [module, below] : kBelow) {
    const bool inside = file == module || file.starts_with(module + "/");
    if (inside && module.size() > best.size()) best = module;
  }
  return best;
}

Names all_below(const std::string& module) {
  Names result;
  for (const std::string& below : kBelow.at(module)) {
    result.insert(below);
    result.merge(all_below(below));
  }
  return result;
}

// What is wrong with an include of `header` in `file`; "" where nothing is.
std::string fault_of(const std::string& file, const std::string& header) {
  const std::string module = module_of(file);
  if (module.empty()) return "lies in no module";
  if (const std::string other = module_of(header); !other.empty()) {
    if (other == module || all_below(module).contains(other)) return "";
    return "goes upwards or sideways, from " + module + " to " + other;
  }
  for (const auto& [start, places] : kFences) {
    if (!header.starts_with(start)) continue;
    const bool inside = std::ranges::any_of(
        places, [&](const std::string& place) { return file.starts_with(place); });
    if (!inside) return "leaves the fence of " + start;
  }
  return "";
}

// The name between the quotes or brackets of an #include line; "" for other lines.
std::string included(const std::string& line) {
  const size_t hash = line.find_first_not_of(" \t");
  if (hash == std::string::npos || line[hash] != '#') return "";
  const size_t word = line.find_first_not_of(" \t", hash + 1);
  if (word == std::string::npos || line.compare(word, 7, "include") != 0) return "";
  const size_t first = line.find_first_of("<\"", word);
  if (first == std::string::npos) return "";
  const size_t last = line.find_first_of(">\"", first + 1);
  return line.substr(first + 1, last - first - 1);
}

std::vector<fs::path> source_files(const fs::path& root) {
  std::vector<fs::path> files;
  for (const char* folder : {"lib", "formats", "apps"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string ending = entry.path().extension();
      if (ending == ".h" || ending == ".cpp" || ending == ".def") files.push_back(entry.path());
    }
  }
  std::ranges::sort(files);
  return files;
}

TEST_CASE("includes point downwards, and third parties stay inside their fences") {
  const fs::path root = ESPALIER_SOURCE_DIR;
  size_t includes = 0;
  for (const fs::path& path : source_files(root)) {
    const std::string file = path.lexically_relative(root).string();
    std::ifstream lines(path);
    std::string line;
    for (size_t number = 1; std::getline(lines, line); ++number) {
      const std::string header = included(line);
      if (header.empty()) continue;
      ++includes;
      const std::string fault = fault_of(file, header);
      if (!fault.empty()) FAIL_CHECK(file << ":" << number << ": " << header << " " << fault);
    }
  }
  CHECK(includes > 100);  // it did look somewhere
}

TEST_CASE("includes that go wrong are noticed") {
  CHECK(fault_of("lib/sparse/pack.cpp", "lib/base/error.h").empty());
  CHECK(fault_of("lib/sparse/pack.cpp", "vector").empty());
  CHECK_FALSE(fault_of("lib/base/error.h", "lib/tensor/tensor.h").empty());
  CHECK_FALSE(fault_of("lib/ir/model.h", "lib/kernels/sparse_product.h").empty());
  CHECK_FALSE(fault_of("lib/prune/plan.h", "lib/runtime/executor.h").empty());
  CHECK_FALSE(fault_of("lib/verify/compare.h", "lib/calibrate/collect.h").empty());
  CHECK_FALSE(fault_of("lib/search/target.h", "formats/format.h").empty());
  CHECK_FALSE(fault_of("lib/report/report.h", "formats/format.h").empty());
  CHECK_FALSE(fault_of("formats/onnx/wire.h", "formats/nnef/language/lexer.h").empty());
  CHECK(fault_of("formats/nnef/nnef_format.cpp", "formats/format.h").empty());
  CHECK(fault_of("formats/formats.cpp", "formats/format.h").empty());
  CHECK(fault_of("apps/espalier/main.cpp", "formats/npy/npy.h").empty());
  CHECK_FALSE(fault_of("lib/verify/data.cpp", "nlohmann/json.hpp").empty());
  CHECK_FALSE(fault_of("lib/ops/operator.h", "hwy/highway.h").empty());
  CHECK_FALSE(fault_of("lib/new/thing.h", "vector").empty());
  CHECK(included("  #  include <a/b.h>  // why") == "a/b.h");
  CHECK(included("// #include <a.h>").empty());
}

}  // namespace
