#!/usr/bin/env bash
# onnxruntime 1.32.0 saves sparse initializers that onnx 1.23.2 refuses
#
# A model with a sparse_initializer (indices of int64, as ONNX asks for) that onnxruntime saves through
# optimized_model_filepath comes out with indices of int8 where they fit. onnxruntime reads that file; onnx.checker
# refuses it: "Sparse tensor indices must have INT64 type". Readers of such files have to take narrow indices.
#
# Installs the packages below in a temporary folder and ends with 0 while the behaviour is as described.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
cd "$work"
"$work/venv/bin/python" - <<'PY'
import numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper, numpy_helper

dense = np.zeros((4, 4), np.float32)
dense[1, 2], dense[3, 0] = 3, -1
places = np.flatnonzero(dense).astype(np.int64)
sparse = helper.make_sparse_tensor(numpy_helper.from_array(dense.ravel()[places], "w"), numpy_helper.from_array(places, "w_places"), [4, 4])
graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [helper.make_tensor_value_info("x", 1, [2, 4])],
                          [helper.make_tensor_value_info("y", 1, [2, 4])], sparse_initializer=[sparse])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)

options = onnxruntime.SessionOptions()
options.log_severity_level = 3
options.optimized_model_filepath = "saved.onnx"
onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
saved = onnx.load("saved.onnx")
kinds = [TensorProto.DataType.Name(s.indices.data_type) for s in saved.graph.sparse_initializer]
assert kinds == ["INT8"], kinds
x = np.arange(8, dtype=np.float32).reshape(2, 4)
again = onnxruntime.InferenceSession("saved.onnx", providers=["CPUExecutionProvider"])
assert np.array_equal(again.run(None, {"x": x})[0], x @ dense)
try:
    onnx.checker.check_model(saved)
except onnx.checker.ValidationError as error:
    assert "INT64" in str(error), error
    print("as described:", error)
else:
    raise SystemExit("the checker accepts it now")
PY
