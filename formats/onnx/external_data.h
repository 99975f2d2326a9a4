#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "formats/onnx/proto.h"
#include "lib/base/mapped_file.h"

namespace espalier {

/// The files below a model's folder that its tensors name; only the bytes of tensors are mapped.
class ExternalFiles {
 public:
  /// Without a folder (a model that is no file) external data is an error.
  explicit ExternalFiles(std::optional<std::filesystem::path> folder)
      : folder_(std::move(folder)) {}

  struct Part {
    Bytes bytes;
    std::shared_ptr<const MappedFile> owner;
  };
  /// The bytes that `tensor` (data_location EXTERNAL) names, `wanted` of them.
  /// Errors  Fault::kFormat: no location, an entry given twice, a path that leaves the folder, a file that is missing or
  /// too short, a bad number, a length other than `wanted`.
  Part find(const pb::TensorProto& tensor, size_t wanted);

  /// Of all files named so far.
  uint64_t bytes() const;

 private:
  std::shared_ptr<const MappedFile> open(const std::string& location, MappedFile::Range range);
  std::optional<std::filesystem::path> folder_;
  std::map<std::string, size_t> sizes_;
};

}  // namespace espalier
