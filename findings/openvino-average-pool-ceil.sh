#!/usr/bin/env bash
# OpenVINO 2026.4.1 divides by the whole window where AveragePool rounds up and counts its padding
#
# With ceil_mode = 1 the last window may reach past the padded image. ONNX divides such a window by the elements that
# lie in the padded image; so do onnxruntime 1.32.0 and onnx's reference evaluator. OpenVINO divides by the whole window
# if count_include_pad is 1: of a 5 x 5 ramp the last of 3 x 3 means is 9.33 in place of 21. Without pads the three
# agree.
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
plain = both(helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, count_include_pad=1), {}, x, [1, 1, 3, 3])
assert np.array_equal(*plain), plain
node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0], ceil_mode=1, count_include_pad=1)
right, given = both(node, {}, x, [1, 1, 3, 3])
assert right.flat[-1] == 21 and abs(given.flat[-1] - 84 / 9) < 1e-4, (right, given)
print("as described:", right.flat[-1], "in onnxruntime,", given.flat[-1], "in OpenVINO")
PY
