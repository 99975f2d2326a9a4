#!/usr/bin/env bash
# onnxruntime 1.32.0: quantize_static by channels refuses Gemm whose bias is not of shape [N]
#
# The bias of Gemm may be of any shape that broadcasts to the result. quantize_static takes [3], [1, 3], [1] and [] for
# a 4 x 3 result per tensor; with per_channel=True only [3] is left. [1, 3] ends with "truth value of an array is
# ambiguous", [1] and [] with an IndexError, none of which names the node or the bias.
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
from onnxruntime.quantization import CalibrationDataReader, quantize_static

logging.disable(logging.WARNING)
rng = np.random.default_rng(0)
x, w = rng.standard_normal((4, 8)).astype(np.float32), rng.standard_normal((8, 3)).astype(np.float32)


class Once(CalibrationDataReader):
    def __init__(self):
        self.items = iter([{"x": x}])

    def get_next(self):
        return next(self.items, None)


def run(file):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def quantized(shape, per_channel):
    b = np.full(shape, 1.5, np.float32)
    graph = helper.make_graph([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], "g", [helper.make_tensor_value_info("x", 1, [4, 8])],
                              [helper.make_tensor_value_info("y", 1, [4, 3])], [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "float.onnx")
    assert np.abs(run("float.onnx") - (x @ w + b)).max() < 1e-5
    quantize_static("float.onnx", "quantized.onnx", Once(), per_channel=per_channel, reduce_range=True)
    assert np.abs(run("quantized.onnx") - (x @ w + b)).max() < 0.2


quantized([3], True)
for shape, kind, words in (([1, 3], ValueError, "ambiguous"), ([1], IndexError, "out of bounds"), ([], IndexError, "too many indices")):
    quantized(shape, False)
    try:
        quantized(shape, True)
    except kind as error:
        assert words in str(error), error
        print(f"as described: {shape}: {error}")
    else:
        raise SystemExit(f"{shape} is quantized now")
PY
