#!/usr/bin/env bash
# MNN 3.6.1 ignores select_last_index of ArgMax and ArgMin
#
# With select_last_index = 1 ArgMax and ArgMin give the last of equal values' places: 2 for the row 5 1 5 2. MNN
# converts the node without an error and gives 0, as without the attribute; rows whose largest value is there once are
# right. onnxruntime 1.32.0 and NumPy agree on 2.
#
# Installs the packages below in a temporary folder and ends with 0 while the behaviour is as described.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 MNN==3.6.1
cd "$work"
"$work/venv/bin/python" - <<'PY'
import _tools, MNN.expr, MNN.nn
import numpy as np, onnx, onnxruntime
from onnx import helper


def both(node, x, shape, kind=1):
    """What onnxruntime and MNN make of one node."""
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", 1, list(x.shape))], [helper.make_tensor_value_info("y", kind, shape)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "model.onnx")
    right = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", "model.onnx", "--MNNModel", "model.mnn", "--bizCode", "none"])
    net = MNN.nn.load_module_from_file("model.mnn", ["x"], ["y"])
    outputs = net.forward([MNN.expr.const(x, list(x.shape), MNN.expr.NCHW, MNN.expr.float)])
    return right, np.array(outputs[0].read())


x = np.array([[5, 1, 5, 2], [1, 2, 3, 4], [0, 0, 0, 0]], np.float32)
for operator, sign, plain in (("ArgMax", 1, [0, 3, 0]), ("ArgMin", -1, [1, 0, 0])):
    right, given = both(helper.make_node(operator, ["x"], ["y"], axis=1, keepdims=0), x, [3], 7)
    assert np.array_equal(right, plain) and np.array_equal(given.ravel(), plain), (operator, given)
    last = 3 - (sign * x)[:, ::-1].argmax(1)
    right, given = both(helper.make_node(operator, ["x"], ["y"], axis=1, keepdims=0, select_last_index=1), x, [3], 7)
    assert np.array_equal(right, last) and not np.array_equal(last, plain), (operator, right)
    assert np.array_equal(given.ravel(), plain), (operator, given)
    print(f"as described: {operator} gives {given.ravel()} and not {last}")
PY
