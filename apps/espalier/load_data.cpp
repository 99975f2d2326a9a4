#include "apps/espalier/load_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "formats/npy/npy.h"
#include "formats/onnx/tensor_file.h"
#include "lib/base/error.h"
#include "lib/base/mapped_file.h"
#include "lib/verify/input_names.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const std::string& why) {
  throw Error(Fault::kFormat, fmt::format("{}: {}", printable(path.string()), why));
}

std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> result;
  std::error_code fault;
  for (fs::directory_iterator i(folder, fault), end; !fault && i != end; i.increment(fault))
    result.push_back(i->path());
  if (fault) fail(folder, fault.message());
  std::ranges::sort(result);
  return result;
}

// K of "input_K.pb" or "test_data_set_K".
std::optional<size_t> number_in(const std::string& name, std::string_view front,
                                std::string_view back) {
  if (!name.starts_with(front) || !name.ends_with(back)) return std::nullopt;
  const char* first = name.data() + front.size();
  const char* last = name.data() + name.size() - back.size();
  size_t number = 0;
  const auto [end, fault] = std::from_chars(first, last, number);
  if (first >= last || fault != std::errc() || end != last) return std::nullopt;
  return number;
}

// The model's own name for a file's: files cannot hold every character.
std::string name_in(const std::vector<std::string>& names, const std::string& stem) {
  for (const std::string& name : names) {
    if (name == stem || file_name_part(name) == stem) return name;
  }
  return stem;
}

// input_K.pb of the K-th of `names`, unless the tensor itself carries another input's name, of `all`.
void add_proto(const fs::path& file, size_t index, const std::vector<std::string>& names,
               const std::vector<std::string>& all, Feed& feed) {
  auto [name, tensor] = read_tensor_proto_file(file);
  if (std::ranges::count(all, name) == 0) {
    if (index >= names.size())
      fail(file, fmt::format("the model has only {} inputs", names.size()));
    name = names[index];
  }
  if (!feed.emplace(name, std::move(tensor)).second)
    fail(file, fmt::format("duplicate tensor for {}", printable(name)));
}

struct TestSet {
  Feed inputs, outputs;
};

TestSet read_test_set(const fs::path& folder, const Model& model) {
  TestSet set;
  for (const fs::path& file : entries(folder)) {
    const std::string name = file.filename().string();
    if (const auto k = number_in(name, "input_", ".pb"))
      add_proto(file, *k, input_names(model), all_input_names(model), set.inputs);
    if (const auto k = number_in(name, "output_", ".pb"))
      add_proto(file, *k, output_names(model), output_names(model), set.outputs);
  }
  return set;
}

bool holds_protos(const fs::path& folder) {
  return std::ranges::any_of(entries(folder), [](const fs::path& file) {
    const std::string name = file.filename().string();
    return number_in(name, "input_", ".pb") || number_in(name, "output_", ".pb");
  });
}

DataSet load_test_sets(const std::vector<fs::path>& folders, const Model& model) {
  DataSet data;
  size_t with_outputs = 0;
  for (const fs::path& folder : folders) {
    TestSet set = read_test_set(folder, model);
    if (!set.outputs.empty()) ++with_outputs;
    data.feeds.push_back(std::move(set.inputs));
    data.expected.push_back(std::move(set.outputs));
    data.feed_names.push_back(folder.filename().string());
  }
  if (with_outputs == 0) data.expected.clear();
  return data;
}

std::vector<fs::path> test_set_folders(const fs::path& folder) {
  std::vector<std::pair<size_t, fs::path>> found;
  for (const fs::path& entry : entries(folder)) {
    const auto k = number_in(entry.filename().string(), "test_data_set_", "");
    std::error_code fault;
    if (k && fs::is_directory(entry, fault)) found.emplace_back(*k, entry);
  }
  std::ranges::sort(found);
  std::vector<fs::path> result;
  for (auto& [k, path] : found) result.push_back(std::move(path));
  return result;
}

DataSet load_arrays(const fs::path& folder, const Model& model) {
  DataSet data;
  Feed outputs;
  for (const fs::path& file : entries(folder)) {
    const std::string name = file.filename().string();
    if (file.extension() != ".npy") continue;
    const std::string stem = file.stem().string();
    if (stem.starts_with("input_"))
      data.arrays.emplace(name_in(all_input_names(model), stem.substr(6)), read_npy_file(file));
    if (stem.starts_with("output_"))
      outputs.emplace(name_in(output_names(model), stem.substr(7)), read_npy_file(file));
  }
  if (!outputs.empty()) data.expected.push_back(std::move(outputs));
  return data;
}

DataSet load_folder(const fs::path& folder, const Model& model) {
  if (holds_protos(folder)) return load_test_sets({folder}, model);
  DataSet data = load_arrays(folder, model);
  if (!data.arrays.empty()) return data;
  const std::vector<fs::path> sets = test_set_folders(folder);
  if (!sets.empty()) return load_test_sets(sets, model);
  fail(folder, "contains none of input_NAME.npy, input_0.pb and test_data_set_0");
}

DataSet load_npz(const fs::path& file, const Model& model) {
  DataSet data;
  const std::vector<std::string> names = all_input_names(model);
  for (auto& [key, array] : read_npz_file(file)) {
    const bool prefixed = key.starts_with("input_") && std::ranges::count(names, key) == 0;
    data.arrays.emplace(name_in(names, prefixed ? key.substr(6) : key), std::move(array));
  }
  return data;
}

bool is_zip(const fs::path& file) {
  const auto mapped = MappedFile::open(file);
  return as_text(mapped->bytes()).starts_with("PK");
}

DataSet load_npy(const fs::path& file, const Model& model) {
  const std::vector<std::string> names = input_names(model), all = all_input_names(model);
  // input_NAME.npy says itself which it is; the others must be given by --state and --fill.
  const std::string stem = file.stem().string();
  const std::string own = stem.starts_with("input_") ? name_in(all, stem.substr(6)) : "";
  DataSet data;
  if (std::ranges::count(all, own) != 0) {
    data.arrays.emplace(own, read_npy_file(file));
  } else if (names.size() == 1) {
    data.arrays.emplace(names[0], read_npy_file(file));
  } else {
    read_npy_file(file);
    fail(file,
         fmt::format("the model has {} inputs: expected a file name input_NAME.npy", names.size()));
  }
  return data;
}

bool is_called_like_data(const fs::path& file) {
  const std::string name = file.filename().string();
  const bool array = file.extension() == ".npy" || file.extension() == ".pb";
  return array && (name.starts_with("input_") || name.starts_with("output_"));
}

}  // namespace

std::vector<fs::path> data_files(const fs::path& path) {
  std::error_code fault;
  if (!fs::is_directory(path, fault)) return {path};
  std::vector<fs::path> folders = test_set_folders(path);
  folders.push_back(path);
  std::vector<fs::path> result;
  for (const fs::path& folder : folders) {
    std::ranges::copy_if(entries(folder), std::back_inserter(result), is_called_like_data);
  }
  return result;
}

std::string file_name_part(const std::string& name) {
  std::string result = name;
  for (char& c : result) {
    if (c == '/' || static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '_';
  }
  return result;
}

DataSet load_data(const fs::path& path, const Model& model) {
  std::error_code fault;
  if (fs::is_directory(path, fault)) return load_folder(path, model);
  try {
    if (path.extension() == ".npz" || is_zip(path)) return load_npz(path, model);
  } catch (Error& error) {
    if (std::string_view(error.what()).find(printable(path.string())) == std::string_view::npos)
      error.add_context(printable(path.string()));
    throw;
  }
  if (path.extension() == ".pb")
    fail(path, "is one tensor: expected the test_data_set folder that contains it");
  return load_npy(path, model);
}

}  // namespace espalier
