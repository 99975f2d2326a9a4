#!/usr/bin/env bash
# onnx 1.23.2 and onnxruntime 1.32.0: a call that leaves out a function's last output
#
# A node may leave out trailing outputs. Where it calls a model-local function of two outputs and names only the first,
# onnx.checker accepts the model and onnx's reference evaluator runs it, but full_check ends in "Output 1 is out of
# bounds" and onnxruntime refuses to load it ("output index 1 is out of range"). An empty name in place of the output is
# taken by both.
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
from onnx import helper
from onnx.reference import ReferenceEvaluator

opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
two = helper.make_function("local", "Two", ["a"], ["p", "q"], [helper.make_node("Relu", ["a"], ["p"]), helper.make_node("Neg", ["a"], ["q"])], opsets[:1])


def model(outputs):
    call = helper.make_node("Two", ["x"], outputs, domain="local")
    graph = helper.make_graph([call], "g", [helper.make_tensor_value_info("x", 1, [2])], [helper.make_tensor_value_info("y", 1, [2])])
    return helper.make_model(graph, opset_imports=opsets, functions=[two], ir_version=8)


def load(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


x = np.array([1, -2], np.float32)
short, full = model(["y"]), model(["y", ""])
onnx.checker.check_model(full, full_check=True)
assert np.array_equal(load(full).run(None, {"x": x})[0], [1, 0])

onnx.checker.check_model(short)
assert np.array_equal(ReferenceEvaluator(short).run(None, {"x": x})[0], [1, 0])
try:
    onnx.checker.check_model(short, full_check=True)
except Exception as error:
    assert "out of bounds" in str(error), error
else:
    raise SystemExit("the full check accepts it now")
try:
    load(short)
except Exception as error:
    assert "out of range" in str(error), error
    print("as described:", error)
else:
    raise SystemExit("onnxruntime loads it now")
PY
