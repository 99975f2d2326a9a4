#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "formats/format.h"
#include "formats/model_facts.h"

namespace espalier {

/// A ModelProto. `owner` keeps `bytes` alive: large weights stay there. External data lie below
/// `folder`; without one they are an error.
/// Errors  Fault::kFormat / kUnsupported with what and where.
Model read_onnx(Bytes bytes, std::shared_ptr<const void> owner,
                std::optional<std::filesystem::path> folder);

/// Hands the file's bytes out in order. With a `data_file` name, large weights go to `data`
/// instead, in order too, and the model refers to them by that name.
struct OnnxOutput {
  std::string data_file;
  std::function<void(Bytes)> data;
  std::function<void(Bytes)> model;
};
/// Errors  Fault::kUnsupported, before anything is handed out: an operator that ONNX does not have,
/// a model of 2 GiB and more without a data file.
void write_onnx(const Model& model, const WriteOptions& options, const OnnxOutput& output);
std::string onnx_bytes(const Model& model, const WriteOptions& options = {});

/// The IR version from which on initializers need not be listed among the graph's inputs.
inline constexpr int64_t kInitializersAlone = 4;

/// Whether the weights should lie in a file of their own: over 1.9 GiB (protobuf ends at 2 GiB), or
/// where they did in the file that was read and are over 1 MiB.
bool wants_data_file(const Model& model);

/// The lowest opset of the default domain that has every attribute of the nodes: models that come
/// from another format may have newer ones than their own opset. 0: any.
int64_t opset_of_attributes(const Graph& graph);

/// The model at that opset of the default domain, by onnx's version converter; its packed weights
/// stay packed. Nothing, and `why`, where the converter cannot.
std::optional<Model> at_opset(const Model& model, int64_t opset, std::string& why);

/// The model with calls of functions that the runtime has no operator for replaced by the nodes
/// that the functions hold: its own functions, and those that ONNX's operators are defined by (in
/// the main graph). Values, nodes and weights keep their names; for running it, not for writing.
/// A call that onnx's inliner cannot replace stays, and the runtime names it.
/// Errors  Fault::kUnsupported for functions nested too deep or growing too large.
Model with_functions_expanded(const Model& model);

/// A model that was read from ONNX with those of its inputs as constants; packed where a decode
/// reads them.
/// Errors  Fault::kFormat naming the weight, where the parts of a packed one break an invariant.
Model with_constants(const Model& model, const std::map<std::string, Tensor>& constants);

/// Of a model that was read from ONNX.
ModelFacts onnx_facts(const Model& model);

}  // namespace espalier
