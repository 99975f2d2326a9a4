#include "formats/onnx/tensor_file.h"

#include <climits>

#include "formats/onnx/tensor_proto.h"
#include "lib/base/mapped_file.h"

namespace espalier {

std::pair<std::string, Tensor> read_tensor_proto_file(const std::filesystem::path& path) {
  try {
    const auto file = MappedFile::open(path);
    const Bytes bytes = file->bytes();
    pb::TensorProto proto;
    if (bytes.size() > INT_MAX ||
        !proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      throw Error(Fault::kFormat, "is not a TensorProto");
    }
    ExternalFiles no_files{std::nullopt};
    Tensor tensor = take_tensor(proto, no_files);
    return {proto.name(), std::move(tensor)};
  } catch (Error& error) {
    error.add_context(printable(path.string()));
    throw;
  }
}

}  // namespace espalier
