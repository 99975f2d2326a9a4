#!/usr/bin/env bash
# tract 0.23.9 computes GlobalLpPool as a mean
#
# GlobalLpPool with p = 1 over [1, -2, 3, 4] is the sum of absolute values, 10, in onnxruntime 1.32.0 and by ONNX's
# definition. tract gives 1.5, the mean of the values with their signs; no error, no warning.
#
# Installs the packages below in a temporary folder and ends with 0 while the behaviour is as described.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 tract==0.23.9
cd "$work"
"$work/venv/bin/python" - <<'PY'
import numpy as np, onnx, onnxruntime, tract
from onnx import helper, numpy_helper

rng = np.random.default_rng(0)


def value(name, shape, kind=1):
    return helper.make_tensor_value_info(name, kind, shape)


def save(nodes, inputs, outputs, weights=(), opset=17):
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(w, name) for name, w in dict(weights).items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "model.onnx")


def in_onnxruntime(x):
    return onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def in_tract(x):
    return tract.onnx().load("model.onnx").into_model().into_runnable().run([x])[0].to_numpy()


x = np.array([1, -2, 3, 4], np.float32).reshape(1, 1, 2, 2)
save([helper.make_node("GlobalLpPool", ["x"], ["y"], p=1)], [value("x", [1, 1, 2, 2])], [value("y", [1, 1, 1, 1])])
right, given = in_onnxruntime(x).item(), in_tract(x).item()
assert right == 10 and given == 1.5, (right, given)
print("as described:", right, "in onnxruntime,", given, "in tract")
PY
