#!/usr/bin/env bash
# OpenVINO 2026.4.1: BitShift to the left keeps the bits that a uint8 should lose
#
# In ONNX a shift to the left drops what leaves the type, so that a shift to the left and one by 7 to the right give one
# bit of a byte; onnxruntime 1.32.0 does so. OpenVINO computes both shifts with more bits, without an error: every byte
# above 1 has all lower bits set then. A shift to the right alone, and Div and Mod, are right.
#
# Installs the packages below in a temporary folder and ends with 0 while the behaviour is as described.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
cd "$work"
"$work/venv/bin/python" - <<'PY'
import numpy as np, onnx, onnxruntime, openvino
from onnx import TensorProto, helper, numpy_helper

codes = np.array([[0b10110100], [0xFF], [1]], np.uint8)
constants = {"codes": codes, "left": np.arange(8, dtype=np.uint8)[None], "right": np.arange(8, dtype=np.uint8)[None, ::-1].copy(), "seven": np.array(7, np.uint8),
             "two": np.array(2, np.int32)}


def both(*nodes):
    """What onnxruntime and OpenVINO make of constants, as int32."""
    ends = [helper.make_tensor_value_info("y", TensorProto.INT32, [3, 8]), helper.make_tensor_value_info("x2", TensorProto.FLOAT, [1])]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["x2"]), *nodes], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])], ends,
                              [numpy_helper.from_array(value, name) for name, value in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "model.onnx")
    feed = {"x": np.zeros(1, np.float32)}
    right = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"]).run(["y"], feed)[0]
    return right, openvino.Core().compile_model("model.onnx", "CPU")(feed)[0]


node = helper.make_node
bits = np.unpackbits(codes, axis=1)
shift = [node("BitShift", ["codes", "left"], ["a"], direction="LEFT"), node("BitShift", ["a", "seven"], ["b"], direction="RIGHT")]
right, given = both(*shift, node("Cast", ["b"], ["y"], to=TensorProto.INT32))
assert np.array_equal(right, bits) and not np.array_equal(given, bits), (right, given)
wrong = (given != bits).sum()
shift = [node("BitShift", ["codes", "right"], ["a"], direction="RIGHT"), node("Cast", ["a"], ["b"], to=TensorProto.INT32)]
right, given = both(*shift, node("Mod", ["b", "two"], ["y"]))
assert np.array_equal(right, bits) and np.array_equal(given, bits), (right, given)
print(f"as described: {wrong} of {bits.size} bits wrong")
PY
