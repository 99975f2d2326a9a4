#!/usr/bin/env bash
# tract 0.23.9 reads ONNX recurrent layers without direction, activations, clip and input_forget
#
# GRU, LSTM and RNN with direction = "reverse", with other activations, with clip or (LSTM) input_forget give in tract
# the very numbers of the plain layer: the attributes are dropped without a word. onnxruntime 1.32.0 obeys them, and
# agrees with tract on the plain layers to rounding.
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


T, I, H = 3, 4, 5
x = rng.standard_normal((T, 1, I)).astype(np.float32)
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
weights = {op: {"w": rng.standard_normal((1, n * H, I)).astype(np.float32), "r": rng.standard_normal((1, n * H, H)).astype(np.float32)}
           for op, n in GATES.items()}


def both(op, **attributes):
    save([helper.make_node(op, ["x", "w", "r"], ["y"], hidden_size=H, **attributes)], [value("x", [T, 1, I])], [value("y", [T, 1, 1, H])],
         weights[op])
    return in_onnxruntime(x), in_tract(x)


cases = [("GRU", {"activations": ["Tanh", "Tanh"]}), ("LSTM", {"activations": ["HardSigmoid", "Tanh", "Tanh"]}), ("RNN", {"activations": ["Relu"]}),
         ("LSTM", {"input_forget": 1})]
for op in GATES:
    plain, plain_tract = both(op)
    assert np.abs(plain - plain_tract).max() < 1e-5, op
    cases += [(op, {"direction": "reverse"}), (op, {"clip": 0.2})]
for op, attributes in cases:
    plain_tract = both(op)[1]
    right, given = both(op, **attributes)
    assert np.array_equal(given, plain_tract), (op, attributes)
    assert np.abs(right - given).max() > 0.01, (op, attributes)
    print(f"as described: {op} {attributes}: off by {np.abs(right - given).max():.2f}")
PY
