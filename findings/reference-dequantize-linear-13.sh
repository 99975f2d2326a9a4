#!/usr/bin/env bash
# onnx 1.23.2: its reference evaluator has QuantizeLinear of opset 13 but not DequantizeLinear
#
# onnx.reference.ReferenceEvaluator runs QuantizeLinear of opset 10 and 13, but a model with DequantizeLinear of opset
# 10 to 18 is refused when it is loaded: "No implementation for operator 'DequantizeLinear'". With opset 19, which means
# the same for int8 and one scale, it runs. onnxruntime 1.32.0 runs all of them.
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
from onnx.reference import ReferenceEvaluator


def model(opset, both):
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    end = helper.make_tensor_value_info("y", 1, [4]) if both else helper.make_tensor_value_info("q", 3, [4])
    graph = helper.make_graph(nodes if both else nodes[:1], "g", [helper.make_tensor_value_info("x", 1, [4])], [end],
                              [numpy_helper.from_array(np.array(0.25, np.float32), "s"), numpy_helper.from_array(np.array(1, np.int8), "z")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    run = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    assert np.array_equal(run, x if both else x * 4 + 1), opset
    return made


x = np.array([-2, 0, 0.25, 5], np.float32)
assert np.array_equal(ReferenceEvaluator(model(19, True)).run(None, {"x": x})[0], x)
for opset in (10, 13, 18):
    assert np.array_equal(ReferenceEvaluator(model(opset, False)).run(None, {"x": x})[0], x * 4 + 1), opset
    try:
        ReferenceEvaluator(model(opset, True))
    except Exception as error:
        assert "No implementation for operator 'DequantizeLinear'" in str(error), error
        print("as described:", str(error)[:100])
    else:
        raise SystemExit(f"opset {opset} runs now")
PY
