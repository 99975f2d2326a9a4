#!/usr/bin/env bash
# onnx 1.23.2: its reference evaluator computes Softmax of opset 11 as that of opset 13
#
# Up to opset 12, Softmax, LogSoftmax and Hardmax work on the input flattened to two dimensions at axis, 1 unless given;
# from opset 13 on along one axis, the last unless given. onnx.reference.ReferenceEvaluator computes opset 11 by the
# rules of 13: the 2 x 12 values of Softmax sum to 8 or 6 and not to 2, without an error. onnxruntime 1.32.0 and NumPy
# agree on the flattened one.
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

x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)


def softmax(x, axis):
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def hardmax(x, axis):
    return (x == x.max(axis, keepdims=True)).astype(np.float32)


formulas = {"Softmax": softmax, "LogSoftmax": lambda x, axis: np.log(softmax(x, axis)), "Hardmax": hardmax}
for operator, formula in formulas.items():
    for attributes, axis in (({"axis": 1}, 1), ({}, -1)):
        graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"], **attributes)], "g", [helper.make_tensor_value_info("x", 1, [2, 3, 4])],
                                  [helper.make_tensor_value_info("y", 1, [2, 3, 4])])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        right = formula(x.reshape(2, 12), 1).reshape(x.shape)
        run = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        assert np.abs(run - right).max() < 1e-5, operator
        given = ReferenceEvaluator(model).run(None, {"x": x})[0]
        assert np.abs(given - formula(x, axis)).max() < 1e-5 and np.abs(given - right).max() > 0.3, (operator, given)
        print(f"as described: {operator} {attributes}: sums to {given.sum():.1f} and not to {right.sum():.1f}")
PY
