#!/usr/bin/env bash
# onnxslim 0.1.98 empties Constant(sparse_value); onnxsim 0.8.1 cannot take it
#
# A weight as Constant(sparse_value) is valid ONNX. onnxslim.slim returns without an error a model whose Constant has no
# attribute left, so that the weight is gone and onnxruntime no longer loads it. onnxsim.simplify refuses the model ("no
# support hash type").
#
# Installs the packages below in a temporary folder and ends with 0 while the behaviour is as described.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 onnxslim==0.1.98 onnxsim==0.8.1
cd "$work"
"$work/venv/bin/python" - <<'PY'
import numpy as np, onnx, onnxruntime, onnxsim, onnxslim
from onnx import helper, numpy_helper

dense = np.zeros((4, 4), np.float32)
dense[1, 2], dense[3, 0] = 3, -1
places = np.flatnonzero(dense).astype(np.int64)
sparse = helper.make_sparse_tensor(numpy_helper.from_array(dense.ravel()[places], ""), numpy_helper.from_array(places, "places"), [4, 4])
graph = helper.make_graph([helper.make_node("Constant", [], ["w"], sparse_value=sparse), helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
                          [helper.make_tensor_value_info("x", 1, [2, 4])], [helper.make_tensor_value_info("y", 1, [2, 4])])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

slim = onnxslim.slim(model)
constants = [node for node in slim.graph.node if node.op_type == "Constant"]
assert len(constants) == 1 and not constants[0].attribute, slim.graph
assert not slim.graph.initializer and not slim.graph.sparse_initializer
try:
    onnxruntime.InferenceSession(slim.SerializeToString(), providers=["CPUExecutionProvider"])
except Exception as error:
    print("as described: onnxslim keeps a Constant without a value:", str(error)[:120])
else:
    raise SystemExit("onnxruntime loads what onnxslim made")
try:
    onnxsim.simplify(model)
except Exception as error:
    assert "no support hash type" in str(error), error
    print("as described: onnxsim:", error)
else:
    raise SystemExit("onnxsim takes it now")
PY
