#!/usr/bin/env bash
# tract 0.23.9: Softplus and ReduceLogSumExp overflow where their results are small
#
# Softplus(200) is 200 and ReduceLogSumExp of 10000 to 10003 is 10003.44 in onnxruntime 1.32.0. tract forms the
# exponential first and gives infinity for both (Softplus from 89 on), while its LogSoftmax of the same values is right.
# Also, Softplus(-100) is 3.8e-44 in one and 0 in the other.
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


x = np.array([[10000, 10001, 10002, 10003]], np.float32)
save([helper.make_node("LogSoftmax", ["x"], ["y"])], [value("x", [1, 4])], [value("y", [1, 4])])
assert np.abs(in_onnxruntime(x) - in_tract(x)).max() < 1e-5
save([helper.make_node("ReduceLogSumExp", ["x"], ["y"])], [value("x", [1, 4])], [value("y", [1, 1])])
assert abs(in_onnxruntime(x).item() - 10003.44) < 0.01 and np.isposinf(in_tract(x).item())
save([helper.make_node("Softplus", ["x"], ["y"])], [value("x", [3])], [value("y", [3])])
x = np.array([88, 89, 200], np.float32)
assert np.array_equal(in_onnxruntime(x), x), in_onnxruntime(x)
assert in_tract(x)[0] == 88 and np.isposinf(in_tract(x)[1:]).all(), in_tract(x)
print("as described: Softplus of", x, "is", in_tract(x))
PY
