#include "formats/onnx/tensor_proto.h"
#include "formats/onnx/data_type.h"
#include "tests/formats/onnx/onnx_cases.h"

namespace espalier {
namespace {

using pb::TensorProto;

Tensor take(TensorProto proto) {
  ExternalFiles none(std::nullopt);
  return take_tensor(proto, none);
}

// Reads and stores; what comes out must be what went in.
TensorProto through(TensorProto proto) {
  ExternalFiles none(std::nullopt);
  const Tensor tensor = take_tensor(proto, none);
  return complete(stored_tensor(tensor, std::move(proto)));
}

std::string refusal_of(const TensorProto& proto) {
  try {
    take(proto);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

TensorProto header(int32_t type, std::initializer_list<int64_t> dims) {
  TensorProto proto;
  proto.set_data_type(type);
  proto.mutable_dims()->Assign(dims.begin(), dims.end());
  proto.set_name("t");
  return proto;
}

std::string some_bytes(size_t count) {
  std::string bytes;
  for (size_t i = 0; i < count; ++i) bytes += static_cast<char>(i * 37 + 11);
  return bytes;
}

TEST_CASE("raw elements of every type come back bit for bit") {
  for (int type = 1; type <= TensorProto::DataType_MAX; ++type) {
    if (type == TensorProto::STRING) continue;
    CAPTURE(type);
    TensorProto proto = header(type, {3, 3});  // 9 elements: no whole byte for narrow types
    proto.set_raw_data(some_bytes(byte_count(dtype_from_onnx(type), {3, 3})));
    CHECK(through(proto).SerializeAsString() == proto.SerializeAsString());
    CHECK(as_text(take(proto).bytes()) == proto.raw_data());
  }
}

TEST_CASE("every type but strings has raw and typed spellings of the same bits") {
  for (int type = 1; type <= TensorProto::DataType_MAX; ++type) {
    if (type == TensorProto::STRING) continue;
    CAPTURE(type);
    TensorProto raw = header(type, {3, 3});
    const DType dtype = dtype_from_onnx(type);
    std::string bytes = some_bytes(byte_count(dtype, {3, 3}));
    if (bits_of(dtype) == 6) bytes.back() &= 0x3F;  // 54 bits: the last two belong to nobody
    raw.set_raw_data(bytes);
    TensorProto mark = header(type, {3, 3});
    mark.add_int32_data(0);
    const TensorProto typed = complete(stored_tensor(take(raw), mark));
    CHECK_FALSE(typed.has_raw_data());
    CHECK(as_text(take(typed).bytes()) == raw.raw_data());
    CHECK(through(typed).SerializeAsString() == typed.SerializeAsString());
  }
}

TEST_CASE("typed fields follow onnx's packing") {
  TensorProto nibbles = header(TensorProto::INT4, {3});
  nibbles.add_int32_data(0x21);
  nibbles.add_int32_data(0x03);
  CHECK(take(nibbles).bytes()[0] == std::byte{0x21});
  TensorProto six = header(TensorProto::FLOAT6E2M3, {4});
  for (const int value : {1, 2, 3, 63}) six.add_int32_data(value);
  // 000001 000010 000011 111111 from the low bits up
  CHECK(as_text(take(six).bytes()) == std::string("\x81\x30\xFC", 3));
  TensorProto negative = header(TensorProto::INT8, {1});
  negative.add_int32_data(-3);
  CHECK(to_i64(take(negative)) == std::vector<int64_t>{-3});
}

TEST_CASE("strings, scalars and empty tensors") {
  TensorProto strings = header(TensorProto::STRING, {3});
  for (const char* text : {"", "one", "two\n"}) strings.add_string_data(text);
  CHECK(through(strings).SerializeAsString() == strings.SerializeAsString());
  TensorProto scalar = header(TensorProto::FLOAT, {});
  scalar.add_float_data(1.5F);
  CHECK(through(scalar).SerializeAsString() == scalar.SerializeAsString());
  TensorProto empty = header(TensorProto::FLOAT, {0, 4});
  CHECK(through(empty).SerializeAsString() == empty.SerializeAsString());
  empty.set_raw_data("");
  CHECK(through(empty).SerializeAsString() == empty.SerializeAsString());
}

TEST_CASE("the leftovers of a tensor come back") {
  TensorProto proto = header(TensorProto::FLOAT, {1});
  proto.set_raw_data(some_bytes(4));
  proto.set_doc_string("doc");
  proto.add_metadata_props()->set_key("k");
  CHECK(through(proto).SerializeAsString() == proto.SerializeAsString());
}

TEST_CASE("elements of the wrong number, type or place are refused") {
  TensorProto proto = header(TensorProto::UINT8, {2});
  proto.add_int32_data(255);
  CHECK(refusal_of(proto) == "int32_data has 1 entries, u8 of shape [2] needs 2");
  proto.add_int32_data(256);
  CHECK(refusal_of(proto) == "int32_data[1] is 256, u8 goes from 0 to 255");
  proto.add_float_data(1);
  CHECK(refusal_of(proto) == "elements of type u8 in float_data");
  proto.clear_float_data();
  proto.set_raw_data("ab");
  CHECK(refusal_of(proto) == "elements both in raw_data and in int32_data");
  proto.clear_int32_data();
  CHECK(refusal_of(proto) == "");
  proto.set_raw_data("");
  CHECK(refusal_of(proto) == "raw_data is empty, expected u8 of shape [2]");
  proto.set_data_type(0);
  CHECK(refusal_of(proto) == "data type is 0, expected one of ONNX, 1 to 28");
  proto.set_data_type(TensorProto::STRING);
  proto.set_raw_data("ab");
  CHECK(refusal_of(proto) == "strings are stored in raw_data, expected string_data");
  // Claims are checked before memory is asked for.
  CHECK(refusal_of(header(TensorProto::FLOAT, {int64_t{1} << 40})) ==
        "float_data has 0 entries, f32 of shape [1099511627776] needs 1099511627776");
  CHECK(refusal_of(header(TensorProto::INT8, {int64_t{1} << 40})) ==
        "int32_data has 0 entries, i8 of shape [1099511627776] needs 1099511627776");
  TensorProto segment = header(TensorProto::FLOAT, {1});
  segment.mutable_segment()->set_begin(0);
  CHECK(refusal_of(segment) == "elements are stored in segments");
}

}  // namespace
}  // namespace espalier
