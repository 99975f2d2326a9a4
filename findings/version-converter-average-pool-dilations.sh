#!/usr/bin/env bash
# onnx 1.23.2: its version converter takes AveragePool with dilations below opset 19
#
# AveragePool has dilations from opset 19 on. onnx.version_converter goes down to 18 without an error and leaves the
# attribute, which opset 18 does not have: onnx.checker refuses what it made ("Unrecognized attribute"), as does
# onnxruntime 1.32.0. For Resize with antialias, new with opset 18, the same converter refuses to go down to 17.
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
from onnx import helper, numpy_helper, version_converter


def model(node, opset, size, weights=()):
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", 1, [1, 1, 5, 5])], [helper.make_tensor_value_info("y", 1, [1, 1, size, size])],
                              [numpy_helper.from_array(w, name) for name, w in dict(weights).items()])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


def load(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


resize = helper.make_node("Resize", ["x", "", "s"], ["y"], mode="linear", antialias=1)
try:
    version_converter.convert_version(model(resize, 18, 3, {"s": np.array([1, 1, 0.6, 0.6], np.float32)}), 17)
except RuntimeError as error:
    assert "adapt_resize_18_17" in str(error), error
else:
    raise SystemExit("Resize with antialias is converted now")

x = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
pool = model(helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[2, 2]), 19, 3)
right = (x[..., :3, :3] + x[..., 2:, :3] + x[..., :3, 2:] + x[..., 2:, 2:]) / 4
assert np.abs(load(pool).run(None, {"x": x})[0] - right).max() < 1e-5
down = version_converter.convert_version(pool, 18)
assert down.opset_import[0].version == 18 and "dilations" in [attribute.name for attribute in down.graph.node[0].attribute]
for check in (onnx.checker.check_model, load):
    try:
        check(down)
    except Exception as error:
        assert "nrecognized attribute: dilations" in str(error), error
        print("as described:", str(error).split("\n")[0][-70:])
    else:
        raise SystemExit("the converted model is taken now")
PY
