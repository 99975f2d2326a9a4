#!/usr/bin/env python3
"""What other programs make of packed ONNX files, as docs/interop.md says of them: quantize_dynamic and the float16 converter of onnxruntime, a model that
onnxruntime saves, onnxslim, onnxsim and OpenVINO. A package that this Python lacks is named; --packages installs those below in a folder of its own.

    interop_test.py ESPALIER [--packages]
"""
import collections
import importlib.util
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import decode_cases as cases  # noqa: E402
import peer  # noqa: E402

PACKAGES = ["numpy==2.4.6", "onnx==1.23.2", "onnxruntime==1.32.0", "onnxslim==0.1.98", "onnxsim==0.8.1", "onnxconverter-common==1.16.0", "sympy", "openvino==2026.4.1"]
SIZE = 256
PROGRAM = ""


def operators(model):
    return collections.Counter(node.op_type for node in model.graph.node)


def save(program, profile, folder):
    """A MatMul and a Gemm, 90 % zeros in blocks, packed in that profile."""
    random = np.random.default_rng(2)
    weights = [numpy_helper.from_array((random.standard_normal((SIZE, SIZE)) / 16).astype(np.float32), name) for name in ("first", "second")]
    nodes = [helper.make_node("MatMul", ["x", "first"], ["h"], "product"), helper.make_node("Relu", ["h"], ["r"], "relu"), helper.make_node("Gemm", ["r", "second"], ["y"], "gemm", transB=1)]
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, SIZE])  # noqa: E731
    dense, packed = os.path.join(folder, "dense.onnx"), os.path.join(folder, f"{profile}.onnx")
    onnx.save(helper.make_model(helper.make_graph(nodes, "net", [value("x")], [value("y")], weights), opset_imports=[helper.make_opsetid("", 17)], ir_version=8), dense)
    peer.espalier(program, "prune", dense, packed, "-q", "--no-verify", "--method", "l2", "--sparsity", "0.9", "--profile", profile)
    if os.path.getsize(packed) > 0.2 * os.path.getsize(dense):
        raise RuntimeError(f"{profile}: not packed")
    return packed, np.random.default_rng(3).standard_normal((2, SIZE)).astype(np.float32)


def outputs(model, x):
    return peer.session(model if isinstance(model, (bytes, str)) else model.SerializeToString()).run(None, {"x": x})


def is_dense(path, packed):
    """Holds each weight in full."""
    sizes = [np.prod(t.dims) for t in onnx.load(path).graph.initializer]
    return sizes.count(SIZE * SIZE) == 2 and os.path.getsize(path) > 5 * os.path.getsize(packed)


def quantize_dynamic(packed, x, folder):
    """Packed weights stay as they are, without a word, but for what the quantization preprocessing decodes."""
    from onnxruntime.quantization import quant_pre_process, quantize_dynamic as quantize
    direct, ready, after = (os.path.join(folder, name) for name in ("direct.onnx", "ready.onnx", "after.onnx"))
    quantize(packed, direct)
    found = operators(onnx.load(direct))
    if found["MatMulInteger"] != 0 or found["MatMul"] + found["Gemm"] != 2:
        return f"packed weights are quantized now: {dict(found)}"
    quant_pre_process(packed, ready, skip_symbolic_shape=True)
    quantize(ready, after)
    found = operators(onnx.load(after))
    if found["MatMulInteger"] + found["QGemm"] < 1 or not is_dense(ready, packed):
        return f"pre-processed, they are not quantized: {dict(found)}"
    error = peer.relative_difference(outputs(after, x), outputs(packed, x))
    return f"quantized outputs differ by {error:.2g}" if error > 0.1 else ""


def saved(packed, x, folder):
    """What onnxruntime saves as its optimized model is dense."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = os.path.join(folder, "saved.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    onnxruntime.InferenceSession(packed, options, providers=["CPUExecutionProvider"])
    if not is_dense(options.optimized_model_filepath, packed):
        return "the saved model is not dense"
    return "" if peer.relative_difference(outputs(options.optimized_model_filepath, x), outputs(packed, x)) == 0 else "the saved model computes something else"


def unfolded(simplified, packed, x, folder):
    path = os.path.join(folder, "simplified.onnx")
    onnx.save(simplified, path)
    if not is_dense(path, packed):
        return "the file stays packed"
    return "" if peer.relative_difference(outputs(path, x), outputs(packed, x)) == 0 else "computes something else"


def onnxslim(packed, x, folder):
    """Decodes."""
    import onnxslim as package
    return unfolded(package.slim(onnx.load(packed)), packed, x, folder)


def onnxsim(packed, x, folder):
    """Decodes."""
    import onnxsim as package
    return unfolded(package.simplify(onnx.load(packed))[0], packed, x, folder)


def float16(packed, x, folder):
    """Converts a file of profile inline."""
    from onnxconverter_common import float16 as package
    half = package.convert_float_to_float16(onnx.load(packed), keep_io_types=True)
    error = peer.relative_difference(outputs(half, x), outputs(packed, x))
    return f"outputs differ by {error:.2g}" if error > 1e-2 else ""


def openvino(packed, x, folder):
    """Runs a file of profile inline, in f32 where it is told to: by default in bf16 where the processor has it."""
    import openvino as package
    core = package.Core()
    model = core.read_model(packed)
    exact = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x])[0]
    error = peer.relative_difference([exact], outputs(packed, x))
    if error > 1e-5:
        return f"outputs in f32 differ by {error:.2g}"
    precision = core.compile_model(model, "CPU").get_property("INFERENCE_PRECISION_HINT")
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    print(f"     openvino: default precision {precision}, bf16 in hardware: {has_bf16}")
    return "" if (str(precision).find("bf") >= 0) == has_bf16 else f"the default precision is {precision}"


def openvino_bitmaps(packed, x, folder):
    """Runs what `--for openvino` writes of unstructured weights, folded before the first call; recurrent ones have pairs there, or are dense."""
    import openvino as package
    faults = []
    for operator in cases.OPERATORS:
        for sparsity in (0.5, 0.9):
            source, sparse, written = (os.path.join(folder, name) for name in ("dense.onnx", "sparse.onnx", "written.onnx"))
            feed = cases.model(operator, 1, False, source)
            cases.pack(PROGRAM, source, sparse, "1x1", "f32", False, sparsity)
            peer.espalier(PROGRAM, "convert", sparse, written, "-q", "--for", "openvino")
            compiled = package.Core().compile_model(written, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            wanted = peer.session(sparse).run(None, feed)
            error = peer.relative_difference([compiled(feed)[0]], wanted)
            if error > 1e-5:
                faults.append(f"{operator} at {sparsity}: outputs differ by {error:.2g}")
    return "; ".join(faults)


CHECKS = {quantize_dynamic: "onnxruntime", saved: "onnxruntime", onnxslim: "onnxslim", onnxsim: "onnxsim", float16: "onnxconverter_common", openvino: "openvino", openvino_bitmaps: "openvino"}


def main(program, *options):
    if "--packages" in options:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            python = os.path.join(folder, "bin/python")
            subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True)
            return subprocess.run([python, os.path.abspath(__file__), os.path.abspath(program)]).returncode
    global PROGRAM
    PROGRAM = os.path.abspath(program)
    faults = count = 0
    for check, package in CHECKS.items():
        if importlib.util.find_spec(package) is None:
            print(f"skipped {check.__name__}: no package {package}")
            continue
        count += 1
        with tempfile.TemporaryDirectory() as folder:
            packed, x = save(program, "inline", folder)
            try:
                fault = check(packed, x, folder)
            except Exception as error:  # noqa: BLE001: whatever the package raises
                fault = peer.one_line(error, 300)
        faults += bool(fault)
        print(f"{'FAIL' if fault else 'ok  '} {check.__name__}{': ' * bool(fault)}{fault}", flush=True)
    return peer.verdict(count, faults)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
