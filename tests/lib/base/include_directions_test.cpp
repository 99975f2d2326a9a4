// Reads the #include lines of lib, formats and apps and lists those that go against the picture of
// docs/architecture.md: upwards, sideways, or to a third party outside of its fence.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace fs = std::filesystem;
using Names = std::set<std::string>;

// Each module and the rooms in it, from the bottom up, with those right below it. A room may include
// what is anywhere below. A room is a folder (without the rooms in it), or the files of that name; a
// list (.def) is not of the room that it lists.
const std::vector<std::pair<std::string, Names>> kRooms{
    {"lib/base", {}},
    {"lib/tensor", {"lib/base"}},
    {"lib/sparse", {"lib/tensor"}},
    {"lib/ir", {"lib/sparse"}},
    {"lib/kernels", {"lib/sparse"}},  // what its rooms share
    {"lib/kernels/elementwise", {"lib/kernels"}},
    {"lib/kernels/dense", {"lib/kernels/elementwise"}},
    {"lib/kernels/conv", {"lib/kernels/dense"}},
    {"lib/kernels/sparse", {"lib/kernels/conv"}},
    {"lib/kernels/int8", {"lib/kernels/sparse"}},
    {"lib/kernels/recurrent", {"lib/kernels/elementwise"}},
    {"lib/c/kernels", {"lib/kernels/int8", "lib/kernels/recurrent"}},
    {"lib/ops", {"lib/ir", "lib/kernels/int8", "lib/kernels/recurrent"}},
    {"lib/ops/operators", {"lib/ops"}},
    {"lib/passes", {"lib/ops"}},
    {"lib/passes/passes", {"lib/passes"}},
    {"lib/runtime", {"lib/passes"}},
    {"lib/prune/select", {"lib/ops"}},
    {"lib/prune/score", {"lib/prune/select"}},
    {"lib/prune/score/criteria", {"lib/prune/score"}},
    {"lib/prune/options", {"lib/prune/score"}},
    {"lib/prune/choose", {"lib/prune/options"}},
    {"lib/prune/refit", {"lib/prune/choose"}},
    {"lib/prune/pack", {"lib/prune/refit"}},
    {"lib/calibrate", {"lib/runtime", "lib/prune/pack"}},
    {"lib/verify", {"lib/runtime", "lib/prune/pack"}},
    {"lib/report", {"lib/verify"}},
    {"lib/report/sections", {"lib/report"}},
    {"lib/report/page", {}},
    {"lib/report/renderers", {"lib/report", "lib/report/page"}},
    {"lib/search", {"lib/report", "lib/calibrate"}},
    {"formats/format", {"lib/ir"}},  // the record that each format fills in
    {"formats/model_facts.h", {"lib/ir"}},
    {"formats/npy", {"lib/tensor"}},
    {"formats/archive", {"lib/base"}},
    {"formats/onnx", {"lib/ops", "formats/format", "formats/model_facts.h"}},
    {"formats/nnef/language", {"lib/base"}},
    {"formats/nnef/decode_fragments", {"lib/base"}},
    {"formats/nnef/read",
     {"lib/ops", "formats/format", "formats/nnef/language", "formats/nnef/decode_fragments"}},
    {"formats/nnef/write", {"formats/nnef/read", "formats/archive"}},
    {"formats/nnef", {"formats/nnef/write"}},
    {"formats", {"formats/onnx", "formats/nnef", "formats/npy"}},
    {"lib/c/models", {"lib/c/kernels", "lib/runtime", "formats"}},
    {"apps/onnxruntime", {"lib/runtime", "formats"}},
    {"apps/espalier", {"lib/search", "formats"}},
    {"apps/espalier/commands", {"apps/espalier"}},
    {"apps/python/src", {"apps/espalier", "lib/c/models"}},
};

// Where a third party's headers start, and the paths that may include them.
const std::map<std::string, Names> kFences{
    {"onnx/", {"formats/onnx/"}},
    {"google/protobuf/", {"formats/onnx/"}},
    {"onnxruntime", {"apps/onnxruntime/"}},
    {"archive.h", {"formats/archive/", "formats/npy/"}},
    {"archive_entry.h", {"formats/archive/", "formats/npy/"}},
    {"zlib.h", {"formats/archive/"}},
    {"hwy/", {"lib/kernels/"}},
    {"dnnl", {"lib/kernels/"}},
    {"oneapi/", {"lib/kernels/"}},
    {"re2/", {"lib/prune/"}},
    {"Eigen/", {"lib/prune/"}},
    {"nlohmann/",
     {"lib/report/", "lib/prune/options/recipe_json", "lib/calibrate/statistics_file",
      "lib/search/machine_file", "apps/espalier/against_onnxruntime", "apps/espalier/sweep_store",
      "apps/espalier/run_recipe"}},
    {"CLI/", {"apps/"}},
    {"nanobind/", {"apps/python/"}},
    {"spdlog/", {"lib/base/log.cpp"}},
    {"doctest/", {}},
    {"benchmark/", {}},
};

// The room with the longest name that holds the file; "" where there is none.
std::string room_of(const std::string& file) {
  std::string best;
  for (const auto& [room, below] : kRooms) {
    const bool inside = file == room || file.starts_with(room + "/") ||
                        (file.starts_with(room + ".") && !file.ends_with(".def"));
    if (inside && room.size() > best.size()) best = room;
  }
  return best;
}

// A folder of sources is a room, so that none comes to be unnoticed.
bool is_room(const std::string& folder) {
  return std::ranges::any_of(kRooms, [&](const auto& entry) {
    return entry.first == folder || entry.first.starts_with(folder + "/");
  });
}

Names all_below(const std::string& room) {
  Names result;
  const auto entry = std::ranges::find(kRooms, room, &std::pair<std::string, Names>::first);
  if (entry == kRooms.end()) return result;
  for (const std::string& below : entry->second) {
    result.insert(below);
    result.merge(all_below(below));
  }
  return result;
}

// What is wrong with an include of `header` in `file`; "" where nothing is.
std::string fault_of(const std::string& file, const std::string& header) {
  const std::string room = room_of(file);
  if (room.empty()) return "is in no module";
  if (const std::string other = room_of(header); !other.empty()) {
    if (other == room || all_below(room).contains(other)) return "";
    return "goes upwards or sideways, from " + room + " to " + other;
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

// What each room includes of others.
using Arrows = std::map<std::string, Names>;

// A line for each room, in the order of kRooms: its files' number and the rooms that they include.
void print(const Arrows& arrows, const std::map<std::string, size_t>& files) {
  for (const auto& [room, below] : kRooms) {
    std::cout << std::left << std::setw(30) << room << std::right << std::setw(4) << files.at(room)
              << " files ";
    const char* separator = " -> ";
    for (const std::string& other : arrows.at(room)) {
      std::cout << separator << other;
      separator = ", ";
    }
    std::cout << "\n";
  }
}

TEST_CASE("includes point downwards, and third parties stay inside their fences") {
  const fs::path root = ESPALIER_SOURCE_DIR;
  Arrows arrows;
  std::map<std::string, size_t> files;
  for (const auto& [room, below] : kRooms) {
    arrows[room];
    for (const std::string& other : below) CHECK(arrows.contains(other));  // listed before it
  }
  for (const fs::path& path : source_files(root)) {
    const std::string file = path.lexically_relative(root).string();
    CAPTURE(file);
    CHECK(is_room(fs::path(file).parent_path().string()));
    const std::string room = room_of(file);
    ++files[room];
    std::ifstream lines(path);
    std::string line;
    for (size_t number = 1; std::getline(lines, line); ++number) {
      const std::string header = included(line);
      if (header.empty()) continue;
      const std::string other = room_of(header);
      if (!other.empty() && other != room) arrows[room].insert(other);
      const std::string fault = fault_of(file, header);
      if (!fault.empty()) FAIL_CHECK(file << ":" << number << ": " << header << " " << fault);
    }
  }
  for (const auto& [room, below] : kRooms) {
    CAPTURE(room);
    REQUIRE(files[room] > 0);
  }
  print(arrows, files);
}

TEST_CASE("includes that go wrong are noticed") {
  CHECK(fault_of("lib/sparse/pack.cpp", "lib/base/error.h").empty());
  CHECK(fault_of("lib/sparse/pack.cpp", "vector").empty());
  CHECK_FALSE(fault_of("lib/base/error.h", "lib/tensor/tensor.h").empty());
  CHECK_FALSE(fault_of("lib/ir/model.h", "lib/kernels/sparse_product.h").empty());
  CHECK_FALSE(fault_of("lib/prune/choose/plan.h", "lib/runtime/executor.h").empty());
  CHECK_FALSE(fault_of("lib/verify/compare.h", "lib/calibrate/collect.h").empty());
  CHECK_FALSE(fault_of("lib/search/target.h", "formats/format.h").empty());
  CHECK_FALSE(fault_of("lib/report/report.h", "formats/format.h").empty());
  CHECK_FALSE(fault_of("formats/onnx/wire.h", "formats/nnef/language/lexer.h").empty());
  CHECK_FALSE(fault_of("lib/kernels/dense/dense.h", "lib/kernels/sparse/block_rows.h").empty());
  CHECK_FALSE(fault_of("lib/kernels/split_rows.h", "lib/kernels/sparse/block_rows.h").empty());
  CHECK_FALSE(fault_of("lib/prune/choose/plan.h", "lib/prune/pack/pack_weights.h").empty());
  CHECK_FALSE(fault_of("lib/ops/fold.h", "lib/ops/operators/norm.h").empty());
  CHECK_FALSE(fault_of("formats/nnef/read/call.h", "formats/nnef/write/graph.h").empty());
  CHECK_FALSE(is_room("lib/kernels/other"));
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
