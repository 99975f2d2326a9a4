#!/usr/bin/env bash
# OpenVINO 2026.4.1 ignores the antialias of Resize
#
# Resize of a 5 x 5 ramp to 0.6 of its size with mode linear and antialias = 1 starts with 2.25 in onnxruntime 1.32.0
# and in onnx's reference evaluator; OpenVINO gives 2.0, as for antialias = 0, in linear and in cubic mode, without an
# error.
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


x = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
scales = {"s": np.array([1, 1, 0.6, 0.6], np.float32)}
for mode in ("linear", "cubic"):
    plain = both(helper.make_node("Resize", ["x", "", "s"], ["y"], mode=mode), scales, x, [1, 1, 3, 3])
    assert np.abs(plain[0] - plain[1]).max() < 1e-3
    right, given = both(helper.make_node("Resize", ["x", "", "s"], ["y"], mode=mode, antialias=1), scales, x, [1, 1, 3, 3])
    assert np.array_equal(given, plain[1]) and np.abs(right - given).max() > 0.1, (mode, right, given)
    print(f"as described: {mode}: {right.flat[0]:.4f} in onnxruntime, {given.flat[0]:.4f} in OpenVINO")
PY
