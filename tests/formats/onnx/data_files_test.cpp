#include "formats/onnx/data_files.h"

#include <doctest/doctest.h>

#include <set>

#include "formats/format.h"
#include "formats/onnx/proto.h"
#include "tests/support/temporary_folder.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

pb::TensorProto external_tensor(const std::string& name, const std::string& location) {
  pb::TensorProto tensor;
  tensor.set_name(name);
  tensor.set_data_type(pb::TensorProto::FLOAT);
  tensor.add_dims(16);
  tensor.set_data_location(pb::TensorProto::EXTERNAL);
  auto* entry = tensor.add_external_data();
  entry->set_key("location");
  entry->set_value(location);
  return tensor;
}

// A model whose initializer, Constant, subgraph and function refer to one file each.
std::string model_of(const std::string& initializer, const std::string& constant = {},
                     const std::string& inner = {}, const std::string& function = {}) {
  pb::ModelProto model;
  model.set_ir_version(8);
  auto* graph = model.mutable_graph();
  *graph->add_initializer() = external_tensor("w", initializer);
  const auto add_constant = [](auto* nodes, const std::string& location) {
    auto* attribute = nodes->add_attribute();
    attribute->set_name("value");
    *attribute->mutable_t() = external_tensor("c", location);
  };
  if (!constant.empty()) add_constant(graph->add_node(), constant);
  if (!inner.empty()) {
    *graph->add_node()->add_attribute()->mutable_g()->add_initializer() =
        external_tensor("i", inner);
  }
  if (!function.empty()) add_constant(model.add_functions()->add_node(), function);
  return model.SerializeAsString();
}

std::set<std::string> names(const std::vector<fs::path>& paths) {
  std::set<std::string> result;
  for (const fs::path& path : paths) result.insert(path.filename());
  return result;
}

TEST_CASE("data files are found wherever a tensor may be") {
  const TemporaryFolder folder;
  write_text(folder / "m.onnx", model_of("a", "b", "sub/c", "d"));
  CHECK(names(data_files_of(folder / "m.onnx")) == std::set<std::string>{"a", "b", "c", "d"});
  CHECK(names(model_files(folder / "m.onnx")) ==
        std::set<std::string>{"m.onnx", "a", "b", "c", "d"});
  write_text(folder / "broken.onnx", model_of("a").substr(0, 20));
  CHECK_THROWS_AS(data_files_of(folder / "broken.onnx"), Error);
  CHECK(names(model_files(folder / "broken.onnx")) == std::set<std::string>{"broken.onnx"});
}

TEST_CASE("data of one model alone are those that no other may read") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "here/sub");
  const fs::path home = folder / "here", model = home / "m.onnx";
  for (const char* name : {"a.weights", "b.weights", "c.weights", "sub/d.weights"})
    write_text(home / name, "data");
  fs::create_symlink("a.weights", home / "link");
  write_text(model, model_of("a.weights", "b.weights", "sub/d.weights", "link"));
  const auto alone = [&] { return names(data_files_of_alone(model)); };
  CHECK(alone() ==
        std::set<std::string>{"a.weights", "b.weights", "d.weights"});  // links are nobody's own
  write_text(home / "other", model_of("./b.weights", "c.weights"));     // by content, not by name
  CHECK(alone() == std::set<std::string>{"a.weights", "d.weights"});
  write_text(home / "sub/near.onnx", model_of("d.weights"));  // beside the data
  CHECK(alone() == std::set<std::string>{"a.weights"});
  write_text(folder / "above.onnx", model_of("here/a.weights"));  // in a folder above
  CHECK(alone().empty());
  fs::remove(folder / "above.onnx");
  CHECK(alone() == std::set<std::string>{"a.weights"});
  const std::string whole = model_of("a.weights");
  write_text(folder / "broken.onnx", whole.substr(0, whole.size() - 1));  // still names it
  CHECK_THROWS_AS(data_files_of(folder / "broken.onnx"), Error);
  CHECK(alone().empty());
  write_text(folder / "broken.onnx", model_of("c.weights").substr(0, 20));  // names none of them
  CHECK_THROWS_AS(data_files_of(folder / "broken.onnx"), Error);
  CHECK(alone() == std::set<std::string>{"a.weights"});
  fs::remove(folder / "broken.onnx");
  write_text(home / "text", "no model");
  CHECK(alone() == std::set<std::string>{"a.weights"});
  fs::create_symlink("m.onnx", home / "l.onnx");
  CHECK(data_files_of_alone(home / "l.onnx").empty());
  fs::remove(home / "l.onnx");
  fs::create_hard_link(model, home / "second.onnx");  // the same model by another name
  CHECK(alone().empty());
}

TEST_CASE("a run that was killed before its model had a name leaves nothing for good") {
  const TemporaryFolder folder;
  // What there is between the two renames: the data are in place, the model is not.
  write_text(folder / "m.onnx.data", std::string(64, 'x'));
  write_text(folder / ".m.onnx.1-0.part", model_of("m.onnx.data"));
  pb::ModelProto small;
  small.set_ir_version(8);
  small.add_opset_import()->set_version(17);
  small.mutable_graph()->set_name("g");
  write_text(folder / "in.onnx", small.SerializeAsString());
  write_text(folder / "m.onnx", small.SerializeAsString());
  CHECK(write_model(read_model(folder / "in.onnx"), folder / "m.onnx"));
  CHECK_FALSE(fs::exists(folder / "m.onnx.data"));
  CHECK_FALSE(fs::exists(folder / ".m.onnx.1-0.part"));
}

}  // namespace
}  // namespace espalier
