#!/usr/bin/env bash
# onnxconverter-common 1.16.0: float16 conversion breaks a model with functions
#
# convert_float_to_float16 turns the main graph's weights and inputs into float16 but leaves the constants inside of
# model-local functions as float32. The result is no valid model: onnxruntime 1.32.0 refuses it, as the function
# multiplies float16 by float32.
#
# Installs the packages below in a temporary folder and ends with 0 while the behaviour is as described.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 onnxconverter-common==1.16.0
cd "$work"
"$work/venv/bin/python" - <<'PY'
import numpy as np, onnx, onnxruntime
from onnx import helper, numpy_helper
from onnxconverter_common import float16

opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
scaled = helper.make_function("local", "Scaled", ["a", "w"], ["p"], [
    helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(2, np.float32))),
    helper.make_node("MatMul", ["a", "w"], ["t"]), helper.make_node("Mul", ["t", "c"], ["p"])], opsets[:1])
w = np.arange(6, dtype=np.float32).reshape(2, 3)
graph = helper.make_graph([helper.make_node("Scaled", ["x", "w"], ["y"], domain="local")], "g", [helper.make_tensor_value_info("x", 1, [1, 2])],
                          [helper.make_tensor_value_info("y", 1, [1, 3])], [numpy_helper.from_array(w, "w")])
model = helper.make_model(graph, opset_imports=opsets, functions=[scaled], ir_version=8)
onnx.checker.check_model(model, full_check=True)
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

half = float16.convert_float_to_float16(model)
try:
    onnxruntime.InferenceSession(half.SerializeToString(), options, providers=["CPUExecutionProvider"])
except Exception as error:
    assert "inconsistent type" in str(error), error
    print("as described:", error)
else:
    raise SystemExit("the converted model loads now")
PY
