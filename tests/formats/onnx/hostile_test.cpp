#include <sys/stat.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "formats/format.h"
#include "tests/formats/onnx/onnx_cases.h"
#include "tests/support/shared_files.h"
#include "tests/support/temporary_folder.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

std::string file_refusal(const fs::path& path) {
  try {
    read_model(path);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

bool one_clean_line(const std::string& text) {
  return std::ranges::none_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7F; });
}

TEST_CASE("hostile files are judged right, with one line that names the file") {
  const auto manifest = shared_path("hostile/manifest.json");
  if (!manifest) return;
  std::ifstream file(*manifest);
  size_t count = 0;
  const auto all = nlohmann::json::parse(file);
  for (const auto& entry : all["cases"]) {
    if (entry["format"] != "onnx") continue;
    const std::string id = entry["id"], expected = entry["expected"];
    const fs::path path = manifest->parent_path() / entry["file"].get<std::string>();
    CAPTURE(id);
    const std::string refused = file_refusal(path);
    CHECK(one_clean_line(refused));
    if (expected == "accept") CHECK(refused == "");
    if (expected == "reject") CHECK(refused.starts_with(path.string() + ": "));
    if (refused.empty()) CHECK_FALSE(onnx_bytes(read_model(path)).empty());
    ++count;
  }
  CHECK(count > 30);
}

TEST_CASE("what is no plain file is refused without being read") {
  const TemporaryFolder folder;
  const fs::path fifo = folder / "fifo.onnx";
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  CHECK(file_refusal(fifo).ends_with("is not a regular file"));
  CHECK(file_refusal("/dev/zero") == "/dev/zero: is not a regular file");
  CHECK(file_refusal(folder / "none.onnx").ends_with("No such file or directory"));
  fs::create_directory(folder / "folder.onnx");
  CHECK(file_refusal(folder / "folder.onnx").find("is neither an ONNX nor an NNEF model") !=
        std::string::npos);
  write_text(folder / "empty.onnx", "");
  CHECK(file_refusal(folder / "empty.onnx")
            .ends_with("is neither an ONNX nor an NNEF model: it is empty"));
  // Would take memory and time if it were read.
  write_text(folder / "zeros.onnx", "");
  fs::resize_file(folder / "zeros.onnx", uintmax_t{3} << 30);
  CHECK(file_refusal(folder / "zeros.onnx").ends_with("it starts with 00 00 00 00"));
}

TEST_CASE("a model cut anywhere is refused or read, never worse") {
  const std::string whole = model_of(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[N, 4] x) => (float[N, 2] y) <float[4, 2] W = {1, 2, 3, 4, 5, 6, 7, 8}>
    { y = MatMul(x, W) })")
                                .SerializeAsString();
  size_t refused = 0;
  for (size_t size = 0; size < whole.size(); ++size) {
    try {
      read_onnx(as_bytes(std::string_view(whole).substr(0, size)), nullptr, std::nullopt);
    } catch (const Error& error) {
      CHECK(one_clean_line(error.what()));
      ++refused;
    }
  }
  CHECK(refused > whole.size() / 2);
}

// MatMul with W [64, 8] of which `location` holds the elements.
pb::ModelProto external_model(const std::string& location, int64_t rows = 64) {
  pb::ModelProto proto = matmul_model();
  auto& tensor = *proto.mutable_graph()->add_initializer();
  tensor.set_name("W");
  tensor.set_data_type(pb::TensorProto::FLOAT);
  tensor.add_dims(rows);
  tensor.add_dims(8);
  tensor.set_data_location(pb::TensorProto::EXTERNAL);
  auto* entry = tensor.add_external_data();
  entry->set_key("location");
  entry->set_value(location);
  return proto;
}

std::string floats(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i);
  return std::string(as_text(std::as_bytes(std::span(values))));
}

TEST_CASE("external data are read below the model's folder only") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "in/sub");
  write_text(folder / "in/sub/w.bin", floats(512));
  write_text(folder / "outside.bin", floats(512));
  const fs::path model = folder / "in/m.onnx";
  const auto verdict = [&](const std::string& location) {
    write_text(model, external_model(location).SerializeAsString());
    return file_refusal(model);
  };
  CHECK(verdict("sub/w.bin") == "");
  CHECK(to_f32(read_model(model).graph.weights.begin()->second.dense())[511] == 511);
  CHECK(size_on_disk(model) == fs::file_size(model) + 2048);
  fs::create_symlink(folder / "outside.bin", folder / "in/link.bin");
  fs::create_directory_symlink(folder.path(), folder / "in/up");
  REQUIRE(mkfifo((folder / "in/fifo").c_str(), 0600) == 0);
  CHECK(verdict("link.bin").find("symbolic link") != std::string::npos);
  CHECK(verdict("up/outside.bin").find("symbolic link") != std::string::npos);
  CHECK(verdict("../outside.bin").find("'..'") != std::string::npos);
  CHECK(verdict((folder / "outside.bin").string()).find("absolute") != std::string::npos);
  CHECK(verdict("fifo").find("not a regular file") != std::string::npos);
  CHECK(verdict("sub").find("folder") != std::string::npos);
  CHECK(verdict("none").find("initializer W: external data file none: ") != std::string::npos);
  CHECK(verdict("").find("absolute or empty") != std::string::npos);
}

TEST_CASE("an entry of external data that is given twice is refused, whichever it is") {
  const TemporaryFolder folder;
  write_text(folder / "w.bin", floats(512));
  write_text(folder / "v.bin", floats(512));
  for (const auto& [key, value] : {std::pair("location", "v.bin"), std::pair("location", "w.bin"),
                                   std::pair("offset", "0"), std::pair("length", "2048")}) {
    CAPTURE(key);
    pb::ModelProto proto = external_model("w.bin");
    auto& tensor = *proto.mutable_graph()->mutable_initializer(0);
    for (int i = 0; i < 2; ++i) {
      if (i == 0 && std::string_view(key) == "location") continue;  // it is there once already
      auto& entry = *tensor.add_external_data();
      entry.set_key(key);
      entry.set_value(value);
    }
    write_text(folder / "m.onnx", proto.SerializeAsString());
    CHECK(file_refusal(folder / "m.onnx")
              .ends_with(std::string("initializer W: external data: duplicate ") + key));
  }
}

TEST_CASE("large weights that lay beside the model stay beside it") {
  const TemporaryFolder folder;
  write_text(folder / "w.bin", floats(size_t{40960} * 8));
  const fs::path in = folder / "in.onnx", out = folder / "out.onnx";
  write_text(in, external_model("w.bin", 40960).SerializeAsString());
  const Model model = read_model(in);
  write_model(model, out);
  CHECK(fs::file_size(out) < 1024);
  CHECK(fs::file_size(folder / "out.onnx.data") == size_t{40960} * 8 * 4);
  const Model again = read_model(out);
  CHECK(same_bits(again.graph.weights.begin()->second.dense(),
                  model.graph.weights.begin()->second.dense()));
  CHECK(size_on_disk(again) == size_on_disk(out));
  // A small one comes into the model.
  write_text(in, external_model("w.bin", 64).SerializeAsString());
  write_text(folder / "w.bin", floats(512));
  write_model(read_model(in), folder / "small.onnx");
  CHECK_FALSE(fs::exists(folder / "small.onnx.data"));
  CHECK(fs::file_size(folder / "small.onnx") > 2048);
}

TEST_CASE("a model that cannot be written leaves no file") {
  const TemporaryFolder folder;
  write_text(folder / "w.bin", floats(512));
  write_text(folder / "in.onnx", external_model("w.bin").SerializeAsString());
  Model model = read_model(folder / "in.onnx");
  model.graph.nodes[0].domain = "nnef";
  CHECK_THROWS_AS(write_model(model, folder / "out.onnx"), Error);
  CHECK_FALSE(fs::exists(folder / "out.onnx"));
}

}  // namespace
}  // namespace espalier
