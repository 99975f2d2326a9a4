#include "formats/onnx/external_data.h"

#include <fmt/format.h>

#include <charconv>

namespace espalier {
namespace {

// Readers disagree on which of two entries counts, so a second one is refused.
const std::string* entry(const pb::TensorProto& tensor, std::string_view key) {
  const std::string* found = nullptr;
  for (const auto& pair : tensor.external_data()) {
    if (pair.key() != key) continue;
    if (found != nullptr)
      throw Error(Fault::kFormat, fmt::format("external data: duplicate {}", key));
    found = &pair.value();
  }
  return found;
}

uint64_t number(const std::string& text, std::string_view key) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    throw Error(Fault::kFormat,
                fmt::format("external data: {} is '{}', expected a number, 0 or more", key,
                            printable(text)));
  }
  return value;
}

}  // namespace

std::shared_ptr<const MappedFile> ExternalFiles::open(const std::string& location,
                                                      MappedFile::Range range) {
  if (!folder_) throw Error(Fault::kUnsupported, "external data requires a model that is a file");
  if (location.find('\0') != std::string::npos) {
    throw Error(Fault::kFormat, "external data: the file name contains a zero byte");
  }
  try {
    auto file = MappedFile::open_below(*folder_, location, range);
    sizes_[location] = file->file_size();
    return file;
  } catch (Error& error) {
    error.add_context(fmt::format("external data file {}", printable(location)));
    throw;
  }
}

ExternalFiles::Part ExternalFiles::find(const pb::TensorProto& tensor, size_t wanted) {
  const std::string* location = entry(tensor, "location");
  if (location == nullptr) throw Error(Fault::kFormat, "external data: the location is missing");
  const std::string* offset_text = entry(tensor, "offset");
  const std::string* length_text = entry(tensor, "length");
  const uint64_t offset = offset_text == nullptr ? 0 : number(*offset_text, "offset");
  const uint64_t length = length_text == nullptr ? wanted : number(*length_text, "length");
  if (length != wanted) {
    throw Error(Fault::kFormat,
                fmt::format("external data has length {}, type and shape need {}", length, wanted));
  }
  const auto file = open(*location, {offset, length});
  return {file->bytes(), file};
}

uint64_t ExternalFiles::bytes() const {
  uint64_t result = 0;
  for (const auto& [location, size] : sizes_) result += size;
  return result;
}

}  // namespace espalier
