#!/usr/bin/env bash
# onnxoptimizer 0.4.2 merges two Reshapes whose second one copies a dimension
#
# A 0 in the shape of Reshape (ONNX operators, Reshape) stands for the dimension of its own input. The default passes of
# onnxoptimizer, by eliminate_consecutive_idempotent_ops, drop the first of two Reshapes and leave the 0 of the second,
# which then copies another dimension. Softmax over groups of 4, written as [1, 4, 2] to [1, 2, 2, 2] to [0, 0, -1],
# becomes one over groups of 2: other numbers, no error. With the 0s written as numbers the result is right.
#
# Installs the packages below in a temporary folder and ends with 0 while the behaviour is as described.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 onnxoptimizer==0.4.2
cd "$work"
"$work/venv/bin/python" - <<'PY'
import numpy as np, onnx, onnxoptimizer, onnxruntime
from onnx import helper, numpy_helper


def run(model, x):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def grouped(second):
    nodes = [helper.make_node("Reshape", ["x", "first"], ["a"]), helper.make_node("Reshape", ["a", "second"], ["b"]),
             helper.make_node("Softmax", ["b"], ["c"], axis=-1), helper.make_node("Reshape", ["c", "third"], ["y"])]
    shapes = {"first": [1, 2, 2, 2], "second": second, "third": [1, 4, 2]}
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, [1, 4, 2])], [helper.make_tensor_value_info("y", 1, [1, 4, 2])],
                              [numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in shapes.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def softmax(x, n):
    powers = np.exp(x.reshape(-1, n))
    return (powers / powers.sum(1, keepdims=True)).reshape(x.shape)


x = np.arange(8, dtype=np.float32).reshape(1, 4, 2) / 4
assert np.abs(run(onnxoptimizer.optimize(grouped([1, 2, 4])), x) - softmax(x, 4)).max() < 1e-6
model = grouped([0, 0, -1])
assert np.abs(run(model, x) - softmax(x, 4)).max() < 1e-6
optimized = onnxoptimizer.optimize(model)
onnx.checker.check_model(optimized, full_check=True)
given = run(optimized, x)
assert np.abs(given - softmax(x, 2)).max() < 1e-6 and np.abs(given - softmax(x, 4)).max() > 0.1, given
print("as described: the first group is", given[0, :2].ravel(), "and not", softmax(x, 4)[0, :2].ravel())
PY
