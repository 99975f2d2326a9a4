#include <fmt/format.h>

#include <charconv>

#include "formats/archive/archive.h"
#include "formats/format.h"
#include "formats/nnef/decode_fragments.h"
#include "formats/nnef/read/dat.h"
#include "formats/nnef/read/graph.h"
#include "formats/nnef/write/graph.h"
#include "formats/nnef/write/packed.h"
#include "lib/base/error.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr std::array kValues = {DType::kF32, DType::kF16, DType::kI8};

// A folder with a graph.nnef, or any tar or tgz: no other format is one.
bool recognise(const fs::path& path) {
  const std::optional<ArchiveKind> kind = archive_kind(path);
  if (!kind) return false;
  std::error_code error;
  return *kind != ArchiveKind::kFolder || fs::is_regular_file(path / nnef::kGraphFile, error);
}

// What `parse` makes of a member that is text.
template <typename Result>
Result parsed(const Archive& archive, std::string_view name, Result (*parse)(std::string_view)) {
  const Member member = archive.read(name);
  try {
    return parse(as_text(member.bytes));
  } catch (Error& error) {
    error.add_context(name);
    throw;
  }
}

nnef::Document parse_graph(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const std::string_view line = text.substr(at, text.find('\n', at) - at);
    at += line.size() + 1;
    if (!line.starts_with(nnef::kVersionComment)) continue;
    const std::string_view number = line.substr(nnef::kVersionComment.size());
    int64_t version = 0;  // of a line that is no version: none
    std::from_chars(number.data(), number.data() + number.size(), version);
    check_packed_version(version);
  }
  return nnef::parse_document(text);
}

Tensor load_tensor(const Archive& archive, std::string_view label) {
  const std::string name = fmt::format("{}.dat", label);
  const Member member = archive.read(name);
  try {
    return nnef::read_dat(member.bytes, member.owner);
  } catch (Error& error) {
    error.add_context(printable(name));
    throw;
  }
}

uint64_t bytes_of_files(const fs::path& path) {
  if (!fs::is_directory(path)) return fs::file_size(path);
  uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file() && !entry.is_symlink()) bytes += entry.file_size();
  }
  return bytes;
}

Model read(const Archive& archive) {
  nnef::Document document = parsed(archive, nnef::kGraphFile, parse_graph);
  if (archive.contains(nnef::kQuantFile)) {
    document.quantization = parsed(archive, nnef::kQuantFile, nnef::parse_quantization);
  }
  Model model;
  try {
    model = nnef::translate(document,
                            [&](std::string_view label) { return load_tensor(archive, label); });
  } catch (Error& error) {
    const bool is_placed = std::string_view(error.what()).starts_with(nnef::kQuantFile);
    if (!is_placed) error.add_context(nnef::kGraphFile);
    throw;
  }
  return model;
}

Model read_path(const fs::path& path) {
  Model model = read(Archive(path));
  model.origin.file = path.string();
  model.origin.bytes = bytes_of_files(path);
  return model;
}

bool recognise_bytes(Bytes bytes) { return archive_kind(bytes).has_value(); }

Model read_bytes(Bytes bytes, std::shared_ptr<const void> owner) {
  Model model = read(Archive({bytes, std::move(owner)}));
  model.origin.bytes = bytes.size();
  return model;
}

// A folder may hold other things: what is read from it are its texts and its .dat files.
std::vector<fs::path> files(const fs::path& path) {
  std::vector<fs::path> result{path};
  if (!fs::is_directory(path)) return result;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    const fs::path name = entry.path().filename();
    if (name == nnef::kGraphFile || name == nnef::kQuantFile || name.extension() == ".dat")
      result.push_back(entry.path());
  }
  return result;
}

uint64_t bytes_of_weight(const Weight& weight, std::string_view profile) {
  const bool dense =
      profile == "dense" || (weight.is_sparse() && !nnef::has_decoded_shape(weight.sparse()));
  return dense ? byte_count(weight.dtype(), weight.shape()) : stored_bytes(weight);
}

// Every name that no other format wants: a .tar, a .tgz, else a folder.
bool writes(const fs::path&) { return true; }

}  // namespace

extern constinit const Format nnef_format;
constinit const Format nnef_format{
    .name = "nnef",
    .summary = "NNEF 1.0 with tract's operators: a folder, .tar or .tgz",
    .profiles = nnef::kProfiles,
    .values = kValues,
    .recognise = recognise,
    .read = read_path,
    .recognise_bytes = recognise_bytes,
    .read_bytes = read_bytes,
    .files = files,
    .writes = writes,
    .write = nnef::write_nnef,
    .bytes_on_disk = bytes_of_files,
    .stored_bytes = bytes_of_weight,
    .runnable = nullptr,
    .facts = nullptr,
    .names_literals = false,
};

}  // namespace espalier
