#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "formats/onnx/onnx_model.h"
#include "formats/onnx/proto.h"
#include "lib/base/check.h"
#include "lib/base/log.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

using namespace espalier;
namespace fs = std::filesystem;

// A model's folder with what a hostile one may hold, and files around it that no model may read.
class Folders {
 public:
  Folders() {
    std::string name = (fs::temp_directory_path() / "espalier-fuzz-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) abort();
    top_ = name;
    fs::create_directories(model() / "sub");
    put(model() / "w.bin", 'w', 256);
    put(model() / "sub/v.bin", 'v', 4096);
    put(top_ / "outside.bin", kOutside, 4096);
    fs::create_symlink("../outside.bin", model() / "link");
    fs::create_symlink("w.bin", model() / "inner");
    fs::create_directory_symlink("..", model() / "up");
    if (mkfifo((model() / "fifo").c_str(), 0600) != 0) abort();
  }
  ~Folders() {
    std::error_code ignored;
    fs::remove_all(top_, ignored);
  }
  Folders(const Folders&) = delete;
  Folders& operator=(const Folders&) = delete;

  fs::path model() const { return top_ / "model"; }
  std::string outside() const { return (top_ / "outside.bin").string(); }
  static constexpr char kOutside = 'X';

 private:
  static void put(const fs::path& path, char c, size_t count) {
    std::ofstream(path, std::ios::binary) << std::string(count, c);
  }
  fs::path top_;
};

const Folders& folders() {
  static const Folders instance;
  return instance;
}

std::string location(FuzzInput& input) {
  constexpr const char* kNames[] = {"w.bin",          "sub/v.bin", "link", "inner",
                                    "up/outside.bin", "fifo",      "sub",  "sub/../",
                                    "../outside.bin", "./w.bin",   "",     "sub//v.bin"};
  const uint8_t kind = input.byte();
  if (kind % 4 == 0) return input.text();
  if (kind % 4 == 1) return input.one_of(kNames) + input.text();
  if (kind == 2) return folders().outside();
  return input.one_of(kNames);
}

pb::TensorProto tensor_from(FuzzInput& input, const std::string& name) {
  pb::TensorProto tensor;
  tensor.set_name(name);
  tensor.set_data_location(pb::TensorProto::EXTERNAL);
  tensor.set_data_type(1 + input.byte() % 26);
  for (size_t axes = input.byte() % 3; axes > 0; --axes)
    tensor.add_dims(input.coin() ? input.number<int64_t>() : input.byte());
  for (size_t entries = input.byte() % 5; entries > 0; --entries) {
    constexpr const char* kKeys[] = {"location", "offset", "length", "checksum", "location"};
    auto& entry = *tensor.add_external_data();
    entry.set_key(input.one_of(kKeys));
    const bool is_name = entry.key() == "location";
    entry.set_value(is_name        ? location(input)
                    : input.coin() ? std::to_string(input.number<uint64_t>())
                    : input.coin() ? std::to_string(input.byte())
                                   : input.text());
  }
  return tensor;
}

}  // namespace

// Whatever entries say: nothing outside of the model's folder is read, and nothing is left open.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  set_log_level(LogLevel::kQuiet);
  FuzzInput input(data, size);
  pb::ModelProto proto;
  proto.set_ir_version(8);
  auto& import = *proto.add_opset_import();
  import.set_version(17);
  auto& graph = *proto.mutable_graph();
  for (size_t count = 1 + input.byte() % 3; count > 0; --count)
    *graph.add_initializer() = tensor_from(input, "w" + std::to_string(count));
  if (input.coin()) {
    auto& sparse = *graph.add_sparse_initializer();
    *sparse.mutable_values() = tensor_from(input, "s");
    *sparse.mutable_indices() = tensor_from(input, "");
    sparse.add_dims(input.byte());
    sparse.add_dims(input.byte());
  }
  const std::string bytes = proto.SerializeAsString();
  try {
    const Model model = read_onnx(as_bytes(bytes), nullptr, folders().model());
    for (const auto& [id, weight] : model.graph.weights) {
      const Tensor tensor = weight.is_sparse() ? weight.sparse().values : weight.dense();
      for (const std::byte byte : tensor.bytes())
        ESPALIER_CHECK(byte != std::byte{Folders::kOutside});
    }
  } catch (const Error&) {
  }
  return 0;
}
