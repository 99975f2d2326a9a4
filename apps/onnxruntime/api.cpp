#include "apps/onnxruntime/api.h"

#include <fmt/format.h>

#include <array>
#include <new>
#include <utility>

namespace espalier::ort {

void Api::check(OrtStatus* status) const {
  if (status == nullptr) return;
  const std::string text = table_->GetErrorMessage(status);
  table_->ReleaseStatus(status);
  throw Error(Fault::kFormat, text);
}

OrtStatus* Api::status_of_exception(std::string_view where) const noexcept {
  try {
    std::string text(where);
    OrtErrorCode code = ORT_FAIL;
    try {
      throw;
    } catch (const Error& error) {
      text += ": " + std::string(error.what());
      if (error.fault() == Fault::kUnsupported) code = ORT_NOT_IMPLEMENTED;
    } catch (const std::bad_alloc&) {
      text += ": memory is exhausted";
    } catch (const std::exception& error) {
      text += ": " + std::string(error.what());
    } catch (...) {
      text += ": unknown fault";
    }
    return table_->CreateStatus(code, text.c_str());
  } catch (...) {
    return table_->CreateStatus(ORT_FAIL, "espalier: memory is exhausted");
  }
}

DType dtype_of(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return DType::kF32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
      return DType::kF64;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
      return DType::kF16;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
      return DType::kBF16;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8:
      return DType::kI8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16:
      return DType::kI16;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
      return DType::kI32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
      return DType::kI64;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
      return DType::kU8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16:
      return DType::kU16;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32:
      return DType::kU32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64:
      return DType::kU64;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL:
      return DType::kBool;
    default:
      return DType::kUnknown;
  }
}

TensorView Api::view(const OrtValue& value) const {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(table_->GetTensorTypeAndShape(&value, &info));
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  size_t rank = 0;
  std::array<int64_t, Dims::kMaxRank> extents{};
  OrtStatus* status = table_->GetTensorElementType(info, &type);
  if (status == nullptr) status = table_->GetDimensionsCount(info, &rank);
  if (status == nullptr && rank <= Dims::kMaxRank)
    status = table_->GetDimensions(info, extents.data(), rank);
  table_->ReleaseTensorTypeAndShapeInfo(info);
  check(status);
  if (rank > Dims::kMaxRank)
    throw Error(Fault::kUnsupported,
                fmt::format("a tensor of {} axes, at most {} are supported", rank, Dims::kMaxRank));
  TensorView result;
  result.dtype = dtype_of(type);
  if (result.dtype == DType::kUnknown)
    throw Error(Fault::kUnsupported, fmt::format("elements of ONNX's type {} are not supported",
                                                 static_cast<int>(type)));
  result.dims = Dims(std::span(extents.data(), rank));
  void* data = nullptr;
  // onnxruntime has one function for reading and writing; nobody writes here.
  check(table_->GetTensorMutableData(const_cast<OrtValue*>(&value), &data));
  result.bytes = static_cast<std::byte*>(data);
  return result;
}

Tensor Api::tensor(const OrtValue& value) const {
  const TensorView view = this->view(value);
  const size_t bytes = view.count() * bytes_in_view(view.dtype);
  return {view.dtype, view.dims.shape(), Bytes(view.bytes, bytes), nullptr};
}

}  // namespace espalier::ort
