#include "formats/onnx/data_files.h"

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "formats/onnx/onnx_model.h"
#include "formats/onnx/proto.h"
#include "formats/onnx/wire.h"
#include "lib/base/mapped_file.h"
#include "lib/base/temporaries.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

void add_locations(const pb::TensorProto& tensor, std::set<std::string>& locations) {
  for (const auto& entry : tensor.external_data()) {
    if (entry.key() == "location") locations.insert(entry.value());
  }
}

// Tensors are in initializers, attributes, functions, subgraphs and more: all messages are visited.
void add_locations(const Message& message, std::set<std::string>& locations) {
  if (message.GetDescriptor() == pb::TensorProto::descriptor())
    return add_locations(static_cast<const pb::TensorProto&>(message), locations);
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      add_locations(reflection->GetMessage(message, field), locations);
      continue;
    }
    for (int i = 0; i < reflection->FieldSize(message, field); ++i)
      add_locations(reflection->GetRepeatedMessage(message, field, i), locations);
  }
}

std::set<std::string> locations_in(Bytes bytes) {
  const LeanModel lean = without_large_data(bytes);
  pb::ModelProto proto;
  if (lean.bytes.size() > INT32_MAX ||
      !proto.ParseFromArray(lean.bytes.data(), static_cast<int>(lean.bytes.size())))
    throw Error(Fault::kFormat, "is truncated or damaged inside its graph");
  std::set<std::string> locations;
  add_locations(static_cast<const Message&>(proto), locations);
  return locations;
}

// A file by what it is, not by what it is called.
using FileId = std::pair<dev_t, ino_t>;

bool is_plain(const fs::path& path, FileId& id) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
  id = {status.st_dev, status.st_ino};
  return true;
}

std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> result;
  std::error_code fault;
  for (fs::directory_iterator i(folder, fault), end; !fault && i != end; i.increment(fault))
    result.push_back(i->path());
  return result;
}

using Candidates = std::map<FileId, fs::path>;

Candidates plain_data_files(const fs::path& model) {
  Candidates result;
  FileId id;
  if (!is_plain(model, id) || !looks_like_onnx(MappedFile::open(model)->bytes())) return result;
  for (const fs::path& data : data_files_of(model)) {
    if (is_plain(data, id)) result.emplace(id, data);
  }
  return result;
}

// Where files that refer to them may be, and whether under any name.
std::map<fs::path, bool> folders_of(const Candidates& candidates) {
  std::map<fs::path, bool> result;
  for (const auto& [id, data] : candidates) {
    fs::path folder = fs::canonical(fs::absolute(data).parent_path());
    result[folder] = true;
    for (; folder != folder.parent_path(); folder = folder.parent_path())
      result.emplace(folder.parent_path(), false);
  }
  return result;
}

// A damaged model may refer to what its bytes name anywhere.
void take_out_named(Bytes bytes, Candidates& candidates) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::erase_if(candidates, [&](const auto& candidate) {
    return text.find(candidate.second.filename().native()) != std::string_view::npos;
  });
}

// Takes out what the file refers to. False where the file cannot be read; a damaged file that has
// not even the ending of a model is none.
bool take_out_referred(const fs::path& file, Candidates& candidates) {
  const bool named = file.extension() == ".onnx";
  try {
    const auto mapped = MappedFile::open(file);
    if (!named && !looks_like_onnx(mapped->bytes())) return true;
    try {
      for (const fs::path& data : data_files_of(file)) {
        struct stat status {};
        if (::stat(data.c_str(), &status) == 0) candidates.erase({status.st_dev, status.st_ino});
      }
    } catch (const Error&) {
      if (named) take_out_named(mapped->bytes(), candidates);
    }
  } catch (const Error&) {
    return !named;
  }
  return true;
}

}  // namespace

std::vector<fs::path> data_files_of(const fs::path& model) {
  const auto file = MappedFile::open(model);
  std::vector<fs::path> result;
  for (const std::string& location : locations_in(file->bytes()))
    result.push_back(model.parent_path() / location);
  return result;
}

std::vector<fs::path> data_files_of_alone(const fs::path& model) {
  try {
    Candidates candidates = plain_data_files(model);
    if (candidates.empty()) return {};
    const fs::path self = fs::canonical(fs::absolute(model).parent_path()) / model.filename();
    for (const auto& [folder, all] : folders_of(candidates)) {
      for (const fs::path& file : entries(folder)) {
        std::error_code fault;
        const bool other = file != self && (all || file.extension() == ".onnx");
        if (!other || is_temporary(file) || !fs::is_regular_file(file, fault)) continue;
        if (!take_out_referred(file, candidates)) return {};
      }
    }
    std::vector<fs::path> result;
    for (const auto& [id, path] : candidates) result.push_back(path);
    return result;
  } catch (const Error&) {
    return {};
  } catch (const fs::filesystem_error&) {
    return {};
  }
}

}  // namespace espalier
