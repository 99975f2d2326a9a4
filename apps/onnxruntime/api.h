#pragma once

#include <onnxruntime_c_api.h>

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/error.h"
#include "lib/tensor/view.h"

namespace espalier::ort {

/// onnxruntime's function table as functions that throw Error where it gives a status.
/// Cost    those that a run uses allocate nothing of their own.
class Api {
 public:
  explicit Api(const OrtApi& table) : table_(&table) {}
  const OrtApi* operator->() const { return table_; }
  /// Errors  the text of a status that is one.
  void check(OrtStatus* status) const;

  /// The status of an exception that is being handled; null where there is no memory for one.
  OrtStatus* status_of_exception(std::string_view where) const noexcept;

  /// An element and its extents, as they lie in onnxruntime's memory.
  TensorView view(const OrtValue& value) const;
  Tensor tensor(const OrtValue& value) const;

 private:
  const OrtApi* table_;
};

/// kUnknown for types that espalier does not compute with.
DType dtype_of(ONNXTensorElementDataType type);

}  // namespace espalier::ort
