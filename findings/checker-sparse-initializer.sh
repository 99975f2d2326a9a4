#!/usr/bin/env bash
# onnx 1.23.2: the full check refuses a product with a weight in sparse_initializer
#
# onnx.checker.check_model accepts a MatMul whose weight is a sparse_initializer of dims [4, 4]; with full_check=True
# the same model is refused: shape inference takes the sparse tensor for one of rank 0 ("Input tensors of wrong rank
# (0)"). onnxruntime 1.32.0 runs the model and gives the product.
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
from onnx import helper, numpy_helper

dense = np.zeros((4, 4), np.float32)
dense[1, 2], dense[3, 0] = 3, -1
places = np.flatnonzero(dense).astype(np.int64)
sparse = helper.make_sparse_tensor(numpy_helper.from_array(dense.ravel()[places], "w"), numpy_helper.from_array(places, "w_places"), [4, 4])
graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [helper.make_tensor_value_info("x", 1, [2, 4])],
                          [helper.make_tensor_value_info("y", 1, [2, 4])], sparse_initializer=[sparse])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

onnx.checker.check_model(model)
x = np.arange(8, dtype=np.float32).reshape(2, 4)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
assert np.array_equal(session.run(None, {"x": x})[0], x @ dense)
try:
    onnx.checker.check_model(model, full_check=True)
except onnx.shape_inference.InferenceError as error:
    assert "wrong rank (0)" in str(error), error
    print("as described:", error)
else:
    raise SystemExit("the full check accepts it now")
PY
