#include "lib/sparse/pack.h"
#include "tests/formats/onnx/onnx_cases.h"

namespace espalier {
namespace {

// W = [[0, 1, 0], [2, 0, 0], [0, 0, 3], [0, 0, 0]] with its elements in that order.
const std::vector<int64_t> kLinear{1, 3, 8};
const std::vector<int64_t> kPairs{0, 1, 1, 0, 2, 2};
const std::vector<float> kDense{0, 1, 0, 2, 0, 0, 0, 0, 3, 0, 0, 0};

void put_i64(pb::TensorProto& proto, std::vector<int64_t> dims, const std::vector<int64_t>& data,
             bool raw) {
  proto.set_data_type(pb::TensorProto::INT64);
  proto.mutable_dims()->Assign(dims.begin(), dims.end());
  if (raw) {
    proto.set_raw_data(data.data(), data.size() * sizeof(int64_t));
  } else {
    proto.mutable_int64_data()->Assign(data.begin(), data.end());
  }
}

pb::SparseTensorProto sparse(bool pairs, bool raw) {
  pb::SparseTensorProto proto;
  proto.add_dims(4);
  proto.add_dims(3);
  auto& values = *proto.mutable_values();
  values.set_name("W");
  values.set_data_type(pb::TensorProto::FLOAT);
  values.add_dims(3);
  for (const float value : {1.0F, 2.0F, 3.0F}) values.add_float_data(value);
  put_i64(*proto.mutable_indices(), pairs ? std::vector<int64_t>{3, 2} : std::vector<int64_t>{3},
          pairs ? kPairs : kLinear, raw);
  return proto;
}

pb::ModelProto with_initializer(const pb::SparseTensorProto& sparse) {
  pb::ModelProto proto = matmul_model();
  *proto.mutable_graph()->add_sparse_initializer() = sparse;
  return proto;
}

pb::ModelProto with_constant(pb::SparseTensorProto sparse) {
  pb::ModelProto proto = matmul_model();
  sparse.mutable_values()->clear_name();
  pb::NodeProto matmul = proto.graph().node(0);
  pb::NodeProto& node = *proto.mutable_graph()->mutable_node(0);
  node.Clear();
  node.set_op_type("Constant");
  node.add_output("W");
  auto& attribute = *node.add_attribute();
  attribute.set_name("sparse_value");
  attribute.set_type(pb::AttributeProto::SPARSE_TENSOR);
  *attribute.mutable_sparse_tensor() = sparse;
  *proto.mutable_graph()->add_node() = matmul;
  return proto;
}

const Weight& weight_of(const Model& model) {
  REQUIRE(model.graph.weights.size() == 1);
  return model.graph.weights.begin()->second;
}

TEST_CASE("sparse tensors of floats are packed as 1x1 blocks and written back as they were") {
  for (const bool pairs : {false, true}) {
    for (const bool raw : {false, true}) {
      for (const bool constant : {false, true}) {
        CAPTURE(pairs);
        CAPTURE(raw);
        CAPTURE(constant);
        const auto proto =
            constant ? with_constant(sparse(pairs, raw)) : with_initializer(sparse(pairs, raw));
        const Model model = read_proto(proto);
        REQUIRE(weight_of(model).is_sparse());
        const SparseMatrix& matrix = weight_of(model).sparse();
        CHECK(matrix.block == BlockShape{1, 1});
        CHECK(matrix.fold == Fold{1, 3, 4, true});  // as MatMul reads it
        CHECK(to_f32(decode(matrix)) == kDense);
        CHECK(difference(proto, proto_of(model)) == "");
      }
    }
  }
}

TEST_CASE("indices need not ascend, and keep their order when written back") {
  auto shuffled = sparse(false, false);
  put_i64(*shuffled.mutable_indices(), {3}, {8, 1, 3}, false);
  const auto proto = with_initializer(shuffled);
  const Model model = read_proto(proto);
  CHECK(to_f32(decode(weight_of(model).sparse())) ==
        std::vector<float>{0, 2, 0, 3, 0, 0, 0, 0, 1, 0, 0, 0});
  CHECK(difference(proto, proto_of(model)) == "");
}

TEST_CASE("sparse tensors of other types are decoded and written back as they were") {
  auto doubles = sparse(true, true);
  auto& values = *doubles.mutable_values();
  values.clear_float_data();
  values.set_data_type(pb::TensorProto::DOUBLE);
  for (const double value : {1.0, 2.0, 3.0}) values.add_double_data(value);
  for (const bool constant : {false, true}) {
    const auto proto = constant ? with_constant(doubles) : with_initializer(doubles);
    const Model model = read_proto(proto);
    REQUIRE_FALSE(weight_of(model).is_sparse());
    CHECK(to_f32(weight_of(model).dense()) == kDense);
    CHECK(difference(proto, proto_of(model)) == "");
    const auto dense = proto_of(model, profile("dense"));
    CHECK(dense.graph().sparse_initializer_size() == 0);
    CHECK(to_f32(weight_of(read_proto(dense)).dense()) == kDense);
  }
}

TEST_CASE("a changed weight is not written with the indices it had") {
  Model model = read_proto(with_initializer(sparse(false, false)));
  std::vector<float> other = kDense;
  other[11] = 9;
  model.graph.weights.begin()->second.value = Tensor::of<float>({4, 3}, other);
  const Model again = read_proto(proto_of(model));
  CHECK(to_f32(decode(weight_of(again).sparse())) == other);
}

TEST_CASE("bad indices are refused with tensor, position and value") {
  auto bad = sparse(false, false);
  const auto with = [&](std::vector<int64_t> dims, const std::vector<int64_t>& data) {
    bad.mutable_indices()->Clear();
    put_i64(*bad.mutable_indices(), std::move(dims), data, false);
    return refusal(with_initializer(bad));
  };
  CHECK(with({3}, {1, 3, 12}) ==
        "sparse_initializer W: index 2 is 12, shape [4, 3] has 12 elements");
  CHECK(with({3}, {-1, 3, 8}) ==
        "sparse_initializer W: index 0 is -1, shape [4, 3] has 12 elements");
  CHECK(with({3}, {1, 3, 1}) == "sparse_initializer W: indices 0 and 2 both name element 1");
  CHECK(with({2}, {1, 3}) == "sparse_initializer W: indices have shape [2], 3 values need [3]");
  CHECK(with({3, 2}, {0, 1, 1, 3, 2, 2}) ==
        "sparse_initializer W: index 1 is 3 on axis 1, shape is [4, 3]");
  CHECK(with({3, 3}, {0, 1, 1, 3, 2, 2, 0, 0, 0}) ==
        "sparse_initializer W: indices have shape [3, 3], 3 values need [3, 2]");
  bad.mutable_indices()->set_data_type(pb::TensorProto::INT32);
  CHECK(refusal(with_initializer(bad)).starts_with("sparse_initializer W: indices: "));
}

// onnxruntime writes indices of the narrowest type that holds them.
template <typename T>
void check_narrow(pb::TensorProto::DataType type) {
  for (const bool pairs : {false, true}) {
    const std::vector<int64_t>& wide = pairs ? kPairs : kLinear;
    const std::vector<T> narrow(wide.begin(), wide.end());
    auto tensor = sparse(pairs, false);
    tensor.mutable_indices()->clear_int64_data();
    tensor.mutable_indices()->set_data_type(type);
    tensor.mutable_indices()->set_raw_data(narrow.data(), narrow.size() * sizeof(T));
    const auto raw = with_initializer(tensor);
    tensor.mutable_indices()->clear_raw_data();
    tensor.mutable_indices()->mutable_int32_data()->Assign(narrow.begin(), narrow.end());
    for (const auto& proto : {raw, with_initializer(tensor)}) {
      const Model model = read_proto(proto);
      CHECK(to_f32(decode(weight_of(model).sparse())) == kDense);
      CHECK(difference(proto, proto_of(model)) == "");
    }
    tensor.mutable_indices()->set_int32_data(0, -1);
    CHECK(refusal(with_initializer(tensor)).find("index 0 is -1") != std::string::npos);
  }
}

TEST_CASE("indices may be i8, i16, i32 or i64, and nothing else") {
  check_narrow<int8_t>(pb::TensorProto::INT8);
  check_narrow<int16_t>(pb::TensorProto::INT16);
  check_narrow<int32_t>(pb::TensorProto::INT32);
  auto bad = sparse(false, false);
  bad.mutable_indices()->clear_int64_data();
  bad.mutable_indices()->set_data_type(pb::TensorProto::UINT8);
  bad.mutable_indices()->set_raw_data("\1\3\10");
  CHECK(refusal(with_initializer(bad)) ==
        "sparse_initializer W: indices: type is u8, expected i8, i16, i32 or i64");
}

TEST_CASE("a sparse tensor cannot claim a size far beyond what it stores") {
  auto huge = sparse(false, false);
  huge.set_dims(0, int64_t{1} << 40);
  CHECK(refusal(with_initializer(huge)).find("12 bytes unpack to 13194139533312") !=
        std::string::npos);
}

TEST_CASE("sparse profiles store where it shrinks, and dense where it does not") {
  Model model = read_proto(with_initializer(sparse(false, false)));
  for (const char* name : {"sparse-value", "sparse-initializer"}) {
    CAPTURE(name);
    const auto proto = proto_of(model, profile(name));  // 3 of 12: 36 bytes against 48
    const bool constant = name == std::string_view("sparse-value");
    CHECK(proto.graph().sparse_initializer_size() == (constant ? 0 : 1));
    CHECK(proto.graph().node_size() == (constant ? 2 : 1));
    CHECK(to_f32(decode(weight_of(read_proto(proto)).sparse())) == kDense);
  }
  const Tensor full = Tensor::of<float>({4, 3}, std::vector<float>(12, 1.0F));
  const Fold fold{1, 3, 4, true};
  model.graph.weights.begin()->second = {
      pack_blocks(full, fold, BlockMask({1, 1}, fold, true), false), {}};
  const auto proto = proto_of(model, profile("sparse-value"));
  CHECK(proto.graph().initializer_size() == 1);
  CHECK(proto.graph().node_size() == 1);
}

}  // namespace
}  // namespace espalier
