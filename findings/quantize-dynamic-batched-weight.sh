#!/usr/bin/env bash
# onnxruntime 1.32.0: quantize_dynamic by channels of a weight with batches makes a model that does not run
#
# The weight of a MatMul may have batches: [2, 8, 3]. quantize_dynamic quantizes it per tensor, and the result agrees
# with the float model. With per_channel=True it writes 3 scales and 3 zero points, one for each column over both
# batches. That model loads, but every run of it ends in "B zero point is not valid": MatMulInteger of ONNX has a zero
# point of shape [3] only next to a weight of two dimensions.
#
# Installs the packages below in a temporary folder and ends with 0 while the behaviour is as described.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
cd "$work"
"$work/venv/bin/python" - <<'PY'
import logging
import numpy as np, onnx, onnxruntime
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

logging.disable(logging.WARNING)
rng = np.random.default_rng(0)


def session(file):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def quantized(batches, per_channel):
    x, w = rng.standard_normal((*batches, 4, 8)).astype(np.float32), rng.standard_normal((*batches, 8, 3)).astype(np.float32)
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [helper.make_tensor_value_info("x", 1, list(x.shape))],
                              [helper.make_tensor_value_info("y", 1, [*batches, 4, 3])], [numpy_helper.from_array(w, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "float.onnx")
    assert np.abs(session("float.onnx").run(None, {"x": x})[0] - x @ w).max() < 1e-5
    quantize_dynamic("float.onnx", "quantized.onnx", per_channel=per_channel, weight_type=QuantType.QInt8, reduce_range=True)
    loaded = session("quantized.onnx")
    return lambda: np.abs(loaded.run(None, {"x": x})[0] - x @ w).max()


assert quantized([], False)() < 0.2 and quantized([], True)() < 0.2 and quantized([2], False)() < 0.2
run = quantized([2], True)
sizes = {tensor.name: list(tensor.dims) for tensor in onnx.load("quantized.onnx").graph.initializer}
assert sizes == {"w_quantized": [2, 8, 3], "w_scale": [3], "w_zero_point": [3]}, sizes
try:
    run()
except Exception as error:
    assert "B zero point is not valid" in str(error), error
    print("as described:", str(error)[-50:].strip())
else:
    raise SystemExit("it runs now")
PY
