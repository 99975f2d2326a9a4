#pragma once

#include <functional>

#include "formats/onnx/external_data.h"
#include "formats/onnx/proto.h"
#include "lib/ir/model.h"

namespace espalier {

/// Moves type, shape and elements out of `proto`, bit for bit. What stays in `proto` are its
/// leftovers: name, doc_string, metadata, external_data, unknown fields, and how the elements were
/// stored (a first element in the typed field that held them; nothing for raw_data). `mapped` with
/// data() not null takes the place of raw_data; `owner` keeps it alive.
/// Errors  Fault::kFormat / kUnsupported: unknown type, bad shape, elements of the wrong number, in
/// the wrong field or in two, segments; external data as ExternalFiles::find.
Tensor take_tensor(pb::TensorProto& proto, ExternalFiles& external, Bytes mapped = {},
                   std::shared_ptr<const void> owner = {});

/// A TensorProto on its way to a file. Where `data` is set, `bytes` bytes of it are still missing:
/// raw_data, made when they are written, so that no two large weights are decoded at the same time.
struct StoredTensor {
  pb::TensorProto proto;
  size_t bytes = 0;
  std::function<Tensor()> data;
};

/// `leftovers` as take_tensor left them, or empty. A packed weight is stored dense.
StoredTensor stored_tensor(const Weight& weight, pb::TensorProto leftovers);
StoredTensor stored_tensor(const Tensor& tensor, pb::TensorProto leftovers);

/// With raw_data in the message.
pb::TensorProto complete(StoredTensor tensor);

}  // namespace espalier
