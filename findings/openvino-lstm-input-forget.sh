#!/usr/bin/env bash
# OpenVINO 2026.4.1 ignores input_forget of LSTM
#
# An ONNX LSTM with input_forget = 1 couples the two gates in onnxruntime 1.32.0. OpenVINO reads the model without an
# error and computes the plain LSTM, to the last bit; clip, direction and sequence lengths it obeys.
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


def value(name, shape):
    return helper.make_tensor_value_info(name, 1, shape)


def both(node, weights, x, shape):
    """What onnxruntime and OpenVINO, in f32, make of one node."""
    graph = helper.make_graph([node], "g", [value("x", list(x.shape))], [value("y", shape)], [numpy_helper.from_array(w, name) for name, w in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "model.onnx")
    right = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    compiled = openvino.Core().compile_model("model.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return right, compiled([x])[compiled.outputs[0]]


rng = np.random.default_rng(0)
T, I, H = 3, 4, 5
x = rng.standard_normal((T, 1, I)).astype(np.float32)
weights = {"w": rng.standard_normal((1, 4 * H, I)).astype(np.float32), "r": rng.standard_normal((1, 4 * H, H)).astype(np.float32)}


def lstm(**attributes):
    return both(helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=H, **attributes), weights, x, [T, 1, 1, H])


for attributes in ({}, {"direction": "reverse"}, {"clip": 0.2}):
    right, given = lstm(**attributes)
    assert np.abs(right - given).max() < 1e-5, attributes
right, given = lstm(input_forget=1)
assert np.array_equal(given, lstm()[1]) and np.abs(right - given).max() > 0.01
print(f"as described: off by {np.abs(right - given).max():.2f}")
PY
