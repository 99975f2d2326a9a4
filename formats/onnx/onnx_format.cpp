#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "formats/format.h"
#include "formats/onnx/check_frame.h"
#include "formats/onnx/data_files.h"
#include "formats/onnx/onnx_model.h"
#include "formats/onnx/wire.h"
#include "lib/base/log.h"
#include "lib/base/mapped_file.h"
#include "lib/base/output_file.h"
#include "lib/sparse/pack.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 7> kProfiles{
    "inline", "function", "operator", "region", "sparse-value", "sparse-initializer", "dense"};

constexpr std::array kValues{DType::kF32, DType::kF16, DType::kBF16, DType::kI8};

bool recognise(const fs::path& path) {
  return !fs::is_directory(path) && looks_like_onnx(MappedFile::open(path)->bytes());
}

Model read(const fs::path& path) {
  const auto file = MappedFile::open(path);
  Model model = read_onnx(file->bytes(), file, path.parent_path());
  model.origin.file = path.string();
  pb::ModelProto frame;  // the file without its graph
  const bool parsed = frame.ParseFromString(model.origin.extra);
  const std::string newer = parsed ? newer_ir_version(frame) : "";
  if (!newer.empty()) warn_once(newer, fmt::format("{}: {}", path.string(), newer));
  return model;
}

Model read_bytes(Bytes bytes, std::shared_ptr<const void> owner) {
  return read_onnx(bytes, std::move(owner), std::nullopt);
}

bool writes(const fs::path& path) {
  std::string ending = path.extension().string();
  std::ranges::transform(ending, ending.begin(), [](unsigned char c) { return std::tolower(c); });
  return ending == ".onnx";
}

std::vector<fs::path> files(const fs::path& path) {
  std::vector<fs::path> result{path};
  for (fs::path& data : data_files_of(path)) result.push_back(std::move(data));
  return result;
}

// A run that was killed before its model had its name leaves data that only that model refers to.
void remove_data_of(const fs::path& unfinished) {
  for (const fs::path& data : data_files_of_alone(unfinished)) {
    std::error_code ignored;
    fs::remove(data, ignored);
  }
}

bool write(const Model& model, const fs::path& path, const WriteOptions& options,
           const AcceptOutput& accept) {
  OutputFiles files;
  OnnxOutput output;
  if (wants_data_file(model))
    output.data_file = files.add_data(path, remove_data_of).filename().string();
  output.data = [&](Bytes bytes) { files.write(bytes); };
  // The file starts with its first byte: a model that cannot be written leaves nothing.
  bool started = false;
  output.model = [&](Bytes bytes) {
    if (!started) files.add(path, remove_data_of);
    started = true;
    files.write(bytes);
  };
  write_onnx(model, options, output);
  return files.commit(accept, [&] { return data_files_of_alone(path); });
}

// A file that keeps its weights beside it is bigger than it looks; reading maps them alone.
uint64_t bytes_on_disk(const fs::path& path) { return read(path).origin.bytes; }

// Elements that are not a positive zero.
uint64_t nonzeros(const Tensor& tensor) {
  const Tensor dense = tensor.aligned();
  const auto count = [](auto bits) {
    return static_cast<uint64_t>(std::ranges::count_if(bits, [](auto b) { return b != 0; }));
  };
  switch (bytes_of(dense.dtype())) {
    case 2:
      return count(dense.data<uint16_t>());
    case 4:
      return count(dense.data<uint32_t>());
    default:
      return count(dense.data<uint64_t>());
  }
}

// With the sparse profiles, packed weights and f64 ones are sparse tensors: values and their places.
uint64_t bytes_of_weight(const Weight& weight, std::string_view profile) {
  const uint64_t dense = byte_count(weight.dtype(), weight.shape());
  if (profile == "dense") return dense;
  const bool tensors = profile.starts_with("sparse-");
  if (!tensors) return stored_bytes(weight);
  if (!weight.is_sparse() && weight.dtype() != DType::kF64) return dense;
  const uint64_t each = bytes_of(weight.dtype()) + sizeof(int64_t);
  const Tensor elements = dense_of(weight);
  return std::min(dense, each * nonzeros(elements));
}

}  // namespace

extern constinit const Format onnx_format{.name = "onnx",
                                          .summary = "ONNX, opset 7 and later",
                                          .profiles = kProfiles,
                                          .values = kValues,
                                          .recognise = recognise,
                                          .read = read,
                                          .recognise_bytes = looks_like_onnx,
                                          .read_bytes = read_bytes,
                                          .files = files,
                                          .writes = writes,
                                          .write = write,
                                          .bytes_on_disk = bytes_on_disk,
                                          .stored_bytes = bytes_of_weight,
                                          .runnable = with_functions_expanded,
                                          .facts = onnx_facts,
                                          .names_literals = true};

}  // namespace espalier
