#!/usr/bin/env bash
# onnxruntime 1.32.0: quantize_static changes what the alpha and beta of Gemm do
#
# Gemm is alpha * x * w + beta * b. quantize_static with QuantFormat.QDQ loses beta: 1 in its place. With
# QuantFormat.QOperator the bias is divided by beta in place of multiplied, and is multiplied by alpha too: the QGemm
# that it makes computes alpha * (x * w + b / beta). Neither gives an error. With alpha and beta of 1 both agree with
# the float model, and so does QDQ with another alpha.
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
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

logging.disable(logging.WARNING)
rng = np.random.default_rng(0)
# Sums of few small integers: all in the range of the calibration, far from any saturation.
x, w, b = rng.integers(-8, 9, (16, 8)).astype(np.float32) / 8, rng.integers(-8, 9, (8, 3)).astype(np.float32) / 8, np.array([2, -3, 4], np.float32)


class Once(CalibrationDataReader):
    def __init__(self):
        self.items = iter([{"x": x}])

    def get_next(self):
        return next(self.items, None)


def run(file):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def quantized(alpha, beta, kind):
    graph = helper.make_graph([helper.make_node("Gemm", ["x", "w", "b"], ["y"], alpha=alpha, beta=beta)], "g", [helper.make_tensor_value_info("x", 1, [16, 8])],
                              [helper.make_tensor_value_info("y", 1, [16, 3])], [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "float.onnx")
    assert np.abs(run("float.onnx") - (alpha * x @ w + beta * b)).max() < 1e-5
    quantize_static("float.onnx", "quantized.onnx", Once(), quant_format=kind, reduce_range=True)
    return run("quantized.onnx")


def close(given, wanted):
    return np.abs(given - wanted).max() < 0.2


QDQ, QOperator = QuantFormat.QDQ, QuantFormat.QOperator
product = x @ w
assert close(quantized(1.0, 1.0, QDQ), product + b) and close(quantized(1.0, 1.0, QOperator), product + b)
assert close(quantized(0.5, 1.0, QDQ), 0.5 * product + b)
lost = quantized(1.0, 2.0, QDQ)
assert close(lost, product + b) and not close(lost, product + 2 * b), lost
divided = quantized(1.0, 2.0, QOperator)
assert close(divided, product + b / 2), divided
scaled = quantized(0.5, 1.0, QOperator)
assert close(scaled, 0.5 * (product + b)), scaled
for name, given, wanted in (("QDQ, beta 2", lost, product + 2 * b), ("QOperator, beta 2", divided, product + 2 * b),
                            ("QOperator, alpha 0.5", scaled, 0.5 * product + b)):
    print(f"as described: {name}: off by {np.abs(given - wanted).max():.2f}")
PY
