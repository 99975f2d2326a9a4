#!/usr/bin/env bash
# onnx 1.23.2: its reference evaluator cannot run Constant(sparse_value)
#
# A Constant with attribute sparse_value passes the full check and runs in onnxruntime 1.32.0 and in OpenVINO 2026.4.1,
# but onnx.reference.ReferenceEvaluator ends with a TypeError: the operator's own result, a SparseTensor, "has an
# unexpected type". OpenVINO takes the same weight only in this form: as sparse_initializer, "Input tensor isn't found".
#
# Installs the packages below in a temporary folder and ends with 0 while the behaviour is as described.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
cd "$work"
"$work/venv/bin/python" - <<'PY'
import numpy as np, onnx, onnxruntime, openvino
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

dense = np.zeros((4, 4), np.float32)
dense[1, 2], dense[3, 0] = 3, -1
places = np.flatnonzero(dense).astype(np.int64)
ends = [helper.make_tensor_value_info("x", 1, [2, 4])], [helper.make_tensor_value_info("y", 1, [2, 4])]
product = helper.make_node("MatMul", ["x", "w"], ["y"])


def sparse(name):
    return helper.make_sparse_tensor(numpy_helper.from_array(dense.ravel()[places], name), numpy_helper.from_array(places, "places"), [4, 4])


def model(graph):
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


constant = model(helper.make_graph([helper.make_node("Constant", [], ["w"], sparse_value=sparse("")), product], "g", *ends))
initializer = model(helper.make_graph([product], "g", *ends, sparse_initializer=[sparse("w")]))
onnx.checker.check_model(constant, full_check=True)
onnx.checker.check_model(initializer)
onnx.save(constant, "constant.onnx")
onnx.save(initializer, "initializer.onnx")
x = np.arange(8, dtype=np.float32).reshape(2, 4)
for file in ("constant.onnx", "initializer.onnx"):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert np.array_equal(session.run(None, {"x": x})[0], x @ dense)
core = openvino.Core()
assert np.array_equal(list(core.compile_model("constant.onnx", "CPU")([x]).values())[0], x @ dense)
try:
    core.read_model("initializer.onnx")
except RuntimeError as error:
    assert "Input tensor isn't found" in str(error), error
else:
    raise SystemExit("OpenVINO reads sparse_initializer now")
try:
    ReferenceEvaluator(constant).run(None, {"x": x})
except TypeError as error:
    assert "unexpected type" in str(error), error
    print("as described:", str(error)[:120])
else:
    raise SystemExit("the reference evaluator runs it now")
PY
