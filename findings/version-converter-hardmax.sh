#!/usr/bin/env bash
# onnx 1.23.2: its version converter leaves Hardmax as it is where its meaning changes
#
# Before opset 13, Softmax, LogSoftmax and Hardmax work on the input flattened to two dimensions at axis, from then on
# along that one axis. onnx.version_converter flattens Softmax and LogSoftmax when it goes from 11 to 13, so that they
# compute the same as before; Hardmax is left as it is. Of 2 x 12 values two are 1 before the conversion, and eight
# after it, without an error.
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
from onnx import helper, version_converter


def run(model, x):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def ones(x, axis, shape=None):
    """A 1 at the largest value along an axis of x, or of x in a shape."""
    rows = x.reshape(shape or x.shape)
    out = np.zeros_like(rows)
    np.put_along_axis(out, np.expand_dims(rows.argmax(axis), axis), 1, axis)
    return out.reshape(x.shape)


x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
for operator in ("Softmax", "LogSoftmax", "Hardmax"):
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"], axis=1)], "g", [helper.make_tensor_value_info("x", 1, [2, 3, 4])],
                              [helper.make_tensor_value_info("y", 1, [2, 3, 4])])
    old = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    onnx.checker.check_model(old, full_check=True)
    new = version_converter.convert_version(old, 13)
    onnx.checker.check_model(new, full_check=True)
    before, after = run(old, x), run(new, x)
    kinds = [node.op_type for node in new.graph.node]
    if operator != "Hardmax":
        assert kinds == ["Shape", "Flatten", operator, "Reshape"] and np.abs(before - after).max() < 1e-6, kinds
        continue
    assert np.array_equal(before, ones(x, 1, (2, 12))) and before.sum() == 2
    assert kinds == ["Hardmax"] and np.array_equal(after, ones(x, 1)) and after.sum() == 8, (kinds, after)
    print("as described:", int(before.sum()), "ones before,", int(after.sum()), "after")
PY
