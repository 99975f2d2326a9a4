#include "formats/onnx/write_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "formats/onnx/read_attribute.h"
#include "formats/onnx/sparse_tensor.h"
#include "formats/onnx/value_info.h"
#include "lib/base/checked_math.h"

namespace espalier {
namespace {

template <typename Message>
Message from_extra(std::string_view extra, bool own_extra) {
  Message message;
  if (own_extra && !extra.empty())
    message.ParseFromArray(extra.data(), static_cast<int>(extra.size()));
  return message;
}

// The leftovers that a weight from an initializer or a sparse tensor carries.
template <typename Message>
Message weight_leftovers(const Weight& weight, char origin, bool own_extra) {
  if (origin_of(weight) != origin) return {};
  return from_extra<Message>(std::string_view(weight.extra).substr(1), own_extra);
}

std::vector<std::string> strings_of(const Tensor& tensor) {
  std::vector<std::string> result;
  ByteReader reader(tensor.bytes());
  for (size_t i = 0; i < tensor.count(); ++i) {
    const auto length = reader.get<uint32_t>("string length");
    result.emplace_back(as_text(reader.take(length, "string")));
  }
  return result;
}

// The value of Constant's attribute `name`, where the tensor still has its type and rank.
Attribute::Value constant_value(std::string_view name, const Tensor& tensor) {
  const bool scalar = tensor.shape().empty(), list = tensor.shape().size() == 1;
  const DType dtype = tensor.dtype();
  const auto is = [&](std::string_view wanted, DType type, bool shape) {
    return name == wanted && dtype == type && shape;
  };
  if (is("value_int", DType::kI64, scalar)) return to_i64(tensor)[0];
  if (is("value_float", DType::kF32, scalar)) return tensor.aligned().data<float>()[0];
  if (is("value_string", DType::kString, scalar)) return strings_of(tensor)[0];
  if (is("value_ints", DType::kI64, list)) return to_i64(tensor);
  if (is("value_strings", DType::kString, list)) return strings_of(tensor);
  if (is("value_floats", DType::kF32, list)) {
    const Tensor aligned = tensor.aligned();
    const auto data = aligned.data<float>();
    return std::vector<float>(data.begin(), data.end());
  }
  return {};
}

class GraphWriter {
 public:
  GraphWriter(const Graph& graph, bool own_extra, ExternalWriter& external)
      : graph_(graph), own_extra_(own_extra), external_(external) {
    std::unordered_set<std::string_view> taken;
    for (const Value& value : graph.values) taken.insert(value.name);
    for (size_t id = 0; id < graph.values.size(); ++id) {
      names_.push_back(graph.values[id].name);
      for (int i = 0; names_.back().empty(); ++i) {
        std::string name = fmt::format("value_{}_{}", id, i);
        if (!taken.contains(name)) names_.back() = std::move(name);
      }
    }
  }

  pb::GraphProto write(std::vector<StoredTensor>& initializers) {
    auto proto = from_extra<pb::GraphProto>(graph_.extra, own_extra_);
    if (!graph_.name.empty()) proto.set_name(graph_.name);
    for (const Node& node : graph_.nodes) {
      try {
        *proto.add_node() = write_node(node);
      } catch (Error& error) {
        error.add_context(
            fmt::format("node {} ({})", printable(full_op_name(node)), printable(node.name)));
        throw;
      }
    }
    write_weights(proto, initializers);
    write_inputs(proto, initializers);
    write_outputs(proto);
    return proto;
  }

 private:
  pb::ValueInfoProto value_info(ValueId id) const {
    if (!graph_.values[id].name.empty()) return onnx_from_value(graph_.values[id], own_extra_);
    Value named = graph_.values[id];
    named.name = names_[id];
    return onnx_from_value(named, own_extra_);
  }

  // Constants that were listed as inputs, by the reader's list and in its order, as far as they are
  // initializers still; inputs that the list does not have follow.
  void write_inputs(pb::GraphProto& proto, std::span<const StoredTensor> initializers) const {
    google::protobuf::RepeatedPtrField<pb::ValueInfoProto> listed;
    listed.Swap(proto.mutable_input());
    std::unordered_map<std::string_view, ValueId> inputs;
    std::unordered_set<std::string_view> constants;
    for (const ValueId id : graph_.inputs) inputs.emplace(names_[id], id);
    for (const StoredTensor& tensor : initializers) constants.insert(tensor.proto.name());
    std::unordered_set<ValueId> written;
    for (const auto& entry : listed) {
      const auto input = inputs.find(entry.name());
      if (input != inputs.end()) {
        *proto.add_input() = value_info(input->second);
        written.insert(input->second);
      } else if (constants.contains(entry.name())) {
        *proto.add_input() = entry;
      }
    }
    for (const ValueId id : graph_.inputs)
      if (!written.contains(id)) *proto.add_input() = value_info(id);
  }

  // Outputs with a second type were left whole by the reader, in order.
  void write_outputs(pb::GraphProto& proto) const {
    google::protobuf::RepeatedPtrField<pb::ValueInfoProto> kept;
    kept.Swap(proto.mutable_output());
    std::unordered_set<ValueId> seen(graph_.inputs.begin(), graph_.inputs.end());
    int next = 0;
    for (const ValueId id : graph_.outputs) {
      const bool second = !seen.insert(id).second;
      if (second && next < kept.size() && kept[next].name() == names_[id]) {
        *proto.add_output() = kept[next++];
      } else {
        *proto.add_output() = value_info(id);
      }
    }
  }

  void write_weights(pb::GraphProto& proto, std::vector<StoredTensor>& initializers) {
    std::unordered_set<ValueId> constants;
    for (const Node& node : graph_.nodes) {
      if (is_constant(node)) constants.insert(node.outputs[0]);
    }
    for (const auto& [id, weight] : graph_.weights) {
      if (constants.contains(id)) continue;
      if (own_extra_or_new(weight) && origin_of(weight) == kSparseInitializerOrigin) {
        auto sparse = put_sparse_tensor(weight, weight_leftovers<pb::SparseTensorProto>(
                                                    weight, kSparseInitializerOrigin, true));
        sparse.mutable_values()->set_name(names_[id]);
        *proto.add_sparse_initializer() = std::move(sparse);
        continue;
      }
      StoredTensor tensor = stored_tensor(
          weight, weight_leftovers<pb::TensorProto>(weight, kTensorOrigin, own_extra_));
      tensor.proto.set_name(names_[id]);
      if (!external_.location.empty()) external_.take(tensor);
      initializers.push_back(std::move(tensor));
    }
  }

  // A lone origin was put there while lowering, whatever format the model came from.
  bool own_extra_or_new(const Weight& weight) const {
    return own_extra_ || weight.extra.size() == 1;
  }

  pb::NodeProto write_node(const Node& node) {
    if (node.domain == "nnef")
      throw Error(Fault::kUnsupported, "ONNX has no counterpart of this NNEF operator");
    auto proto = from_extra<pb::NodeProto>(node.extra, own_extra_);
    for (const ValueId id : node.inputs) proto.add_input(id == kNoValue ? "" : names_[id]);
    for (const ValueId id : node.outputs) proto.add_output(id == kNoValue ? "" : names_[id]);
    if (!node.name.empty()) proto.set_name(node.name);
    proto.set_op_type(node.op);
    if (!node.domain.empty()) proto.set_domain(node.domain);
    const Weight* constant = is_constant(node) ? find_weight(graph_, node.outputs[0]) : nullptr;
    bool written = false;
    for (const Attribute& attribute : node.attributes) {
      const bool value = constant != nullptr && is_constant_attribute(attribute.name);
      *proto.add_attribute() =
          value ? constant_attribute(attribute, *constant) : write_attribute(attribute);
      written = written || value;
    }
    if (constant != nullptr && !written)
      *proto.add_attribute() = constant_attribute({"value", std::monostate{}, {}}, *constant);
    return proto;
  }

  pb::AttributeProto write_attribute(const Attribute& attribute) {
    pb::AttributeProto proto = put_attribute(attribute, own_extra_);
    if (const Graph* graph = subgraph_of(attribute)) {
      proto.set_type(pb::AttributeProto::GRAPH);
      std::vector<StoredTensor> initializers;
      *proto.mutable_g() = GraphWriter(*graph, own_extra_, external_).write(initializers);
      for (StoredTensor& tensor : initializers)
        *proto.mutable_g()->add_initializer() = complete(std::move(tensor));
    }
    return proto;
  }

  pb::AttributeProto constant_attribute(Attribute attribute, const Weight& weight) const {
    if (attribute.name == "sparse_value" && own_extra_or_new(weight) &&
        origin_of(weight) == kSparseValueOrigin) {
      pb::AttributeProto proto = put_attribute(attribute, own_extra_);
      proto.set_type(pb::AttributeProto::SPARSE_TENSOR);
      *proto.mutable_sparse_tensor() = put_sparse_tensor(
          weight, weight_leftovers<pb::SparseTensorProto>(weight, kSparseValueOrigin, true));
      return proto;
    }
    if (attribute.name != "value" && !weight.is_sparse())
      attribute.value = constant_value(attribute.name, weight.dense());
    if (attribute.value.index() != 0) return put_attribute(attribute, own_extra_);
    if (attribute.name != "value") attribute = {"value", std::monostate{}, {}};
    pb::AttributeProto proto = put_attribute(attribute, own_extra_);
    proto.set_type(pb::AttributeProto::TENSOR);
    *proto.mutable_t() = complete(stored_tensor(weight, std::move(*proto.mutable_t())));
    return proto;
  }

  const Graph& graph_;
  bool own_extra_;
  ExternalWriter& external_;
  std::vector<std::string> names_;
};

}  // namespace

void ExternalWriter::take(StoredTensor& tensor) {
  // Below a kilobyte, as onnx's own tools have it, a reference would hardly be smaller. A page for
  // what is worth mapping by itself.
  constexpr size_t kSmall = 1024, kPage = 4096, kCacheLine = 64;
  if (!tensor.data || tensor.bytes < kSmall) return;
  const uint64_t offset = round_up(end, tensor.bytes >= 16 * kPage ? kPage : kCacheLine);
  tensor.proto.set_data_location(pb::TensorProto::EXTERNAL);
  const auto add = [&](const char* key, std::string value) {
    auto* entry = tensor.proto.add_external_data();
    entry->set_key(key);
    entry->set_value(std::move(value));
  };
  add("location", location);
  add("offset", fmt::to_string(offset));
  add("length", fmt::to_string(tensor.bytes));
  end = offset + tensor.bytes;
  parts.push_back({offset, std::move(tensor.data)});
  tensor.data = nullptr;
  tensor.bytes = 0;
}

pb::GraphProto graph_proto(const Graph& graph, bool own_extra, ExternalWriter& external,
                           std::vector<StoredTensor>& initializers) {
  return GraphWriter(graph, own_extra, external).write(initializers);
}

}  // namespace espalier
