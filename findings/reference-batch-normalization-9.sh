#!/usr/bin/env bash
# onnx 1.23.2: its reference evaluator mixes the batch into BatchNormalization of opset 9 to 13
#
# In opset 9 to 13 BatchNormalization with one output is in test mode: it normalises by the stored mean and variance, as
# NumPy and onnxruntime 1.32.0 do. onnx.reference.ReferenceEvaluator takes 0.9 (momentum) of the stored and 0.1 of the
# batch's own mean and variance, without a word; a value depends on the others of its batch. With opset 14 and the same
# node it is right, and with opset 7 it ends in an error.
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
from onnx.reference import ReferenceEvaluator

weights = {"scale": [1, 2, 3], "bias": [0, 1, 2], "mean": [0.5, -1, 2], "variance": [4, 1, 9]}
weights = {name: np.array(w, np.float32) for name, w in weights.items()}
scale, bias, mean, variance = (w.reshape(1, 3, 1) for w in weights.values())
x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)


def normalised(mean, variance):
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + bias


def model(opset):
    node = helper.make_node("BatchNormalization", ["x", *weights], ["y"])
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", 1, [2, 3, 4])], [helper.make_tensor_value_info("y", 1, [2, 3, 4])],
                              [numpy_helper.from_array(w, name) for name, w in weights.items()])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    run = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    assert np.abs(run - right).max() < 1e-5, opset
    return made


right = normalised(mean, variance)
mixed = normalised(0.9 * mean + 0.1 * x.mean((0, 2), keepdims=True), 0.9 * variance + 0.1 * x.var((0, 2), keepdims=True))
assert np.abs(right - mixed).max() > 0.1
assert np.abs(ReferenceEvaluator(model(14)).run(None, {"x": x})[0] - right).max() < 1e-5
for opset in (9, 13):
    given = ReferenceEvaluator(model(opset)).run(None, {"x": x})[0]
    assert np.abs(given - mixed).max() < 1e-5, (opset, given - right)
    print(f"as described: opset {opset} is off by {np.abs(given - right).max():.2f}")
try:
    ReferenceEvaluator(model(7)).run(None, {"x": x})
except TypeError as error:
    assert "is a tuple" in str(error), error
else:
    raise SystemExit("opset 7 runs now")
PY
