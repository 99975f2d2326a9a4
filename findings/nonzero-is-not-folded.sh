#!/usr/bin/env bash
# onnxruntime 1.32.0 never computes NonZero of a constant at load
#
# A chain NonZero, Cast, ReduceSum that starts at an initializer is constant, but at every optimisation level the
# optimized model still has all three nodes: they run in each call. The same chain with Sign in place of NonZero is
# gone. Whoever stores a mask and expands it by NonZero pays for that in every run.
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
from onnx import helper, numpy_helper

mask = np.array([[0, 2, 0, 0], [5, 0, 0, 1]], np.float32)
Levels = onnxruntime.GraphOptimizationLevel


def kept(operator, level):
    nodes = [helper.make_node(operator, ["c"], ["i"]), helper.make_node("Cast", ["i"], ["f"], to=1),
             helper.make_node("ReduceSum", ["f"], ["s"], keepdims=0), helper.make_node("Add", ["x", "s"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, [2])], [helper.make_tensor_value_info("y", 1, [2])],
                              [numpy_helper.from_array(mask, "c")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = level
    options.optimized_model_filepath = "optimized.onnx"
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load("optimized.onnx").graph.node]


for level in (Levels.ORT_ENABLE_BASIC, Levels.ORT_ENABLE_EXTENDED, Levels.ORT_ENABLE_ALL):
    assert kept("Sign", level) == ["Add"], kept("Sign", level)
    assert kept("NonZero", level) == ["NonZero", "Cast", "ReduceSum", "Add"], kept("NonZero", level)
print("as described: NonZero of an initializer stays at every level")
PY
