#!/usr/bin/env bash
# onnxruntime 1.32.0: quantize_dynamic looks for weights among initializers alone, and does three things where one is the output of a Constant node
#
# paddle2onnx, torch's older exporter and others write weights as Constant nodes. Of the same valid model with the weight stored so, quantize_dynamic
# - leaves MatMul and Gemm in float, without an error: the "quantized" file has no integer product;
# - gives Conv without a bias a ConvInteger whose weight stays float in the file and is quantized by a DynamicQuantizeLinear in every run;
# - raises "Expected w to be an initializer" for Conv with a bias (whether the bias is an initializer or not).
# With the weight as an initializer all of them become integer products with i8 or u8 weights. onnxruntime's quant_pre_process, which makes
# initializers of such nodes, helps in all four cases.
#
# Installs the packages below in a temporary folder and ends with 0 while the behaviour is as described.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 sympy==1.14.0
cd "$work"
"$work/venv/bin/python" - <<'PY'
import logging
import numpy as np, onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process

logging.disable(logging.WARNING)
rng = np.random.default_rng(0)
SHAPES = {"Conv": ([4, 3, 3, 3], [1, 3, 8, 8], [1, 4, 6, 6]), "MatMul": ([16, 8], [2, 16], [2, 8]), "Gemm": ([16, 8], [2, 16], [2, 8])}


def save(op, bias, constant, path):
    shape, x, y = SHAPES[op]
    weight = numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), "w")
    stored = [] if constant else [weight]
    nodes = [helper.make_node("Constant", [], ["w"], value=weight)] if constant else []
    if bias:
        stored.append(numpy_helper.from_array(rng.standard_normal(y[1]).astype(np.float32), "b"))
    nodes.append(helper.make_node(op, ["x", "w", "b"] if bias else ["x", "w"], ["y"], name="product"))
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, x)], [helper.make_tensor_value_info("y", 1, y)], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def quantized(op, bias, constant, prepare=False):
    """Integer products of what comes out, and whether a weight is stored in 8 bits."""
    save(op, bias, constant, "float.onnx")
    if prepare:
        quant_pre_process("float.onnx", "prepared.onnx", skip_symbolic_shape=True)
    quantize_dynamic("prepared.onnx" if prepare else "float.onnx", "quantized.onnx")
    graph = onnx.load("quantized.onnx").graph
    narrow = any(tensor.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8) and len(tensor.dims) > 1 for tensor in graph.initializer)
    return [node.op_type for node in graph.node if node.op_type.endswith("Integer")], narrow


INTEGER = {"Conv": "ConvInteger", "MatMul": "MatMulInteger", "Gemm": "MatMulInteger"}
for op, bias in (("MatMul", False), ("Gemm", True), ("Conv", False), ("Conv", True)):
    assert quantized(op, bias, False) == ([INTEGER[op]], True), (op, bias)
    assert quantized(op, bias, True, prepare=True) == ([INTEGER[op]], True), (op, bias)
assert quantized("MatMul", False, True) == ([], False)
assert quantized("Gemm", True, True) == ([], False)
assert quantized("Conv", False, True) == (["ConvInteger"], False)
try:
    quantized("Conv", True, True)
except ValueError as error:
    assert "Expected w to be an initializer" in str(error), error
    print("as described:", error)
else:
    raise SystemExit("Conv with a bias is quantized now")
PY
