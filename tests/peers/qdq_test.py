#!/usr/bin/env python3
"""Weights of onnxruntime's QDQ models: DequantizeLinear of constant integers is a layer, pruned and packed as i8 values, judged by onnxruntime.

    qdq_test.py ESPALIER
"""
import glob
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

SPARSITY, MOST_LOST = 0.5, 0.02


class Reader(CalibrationDataReader):
    def __init__(self, folder):
        files = sorted(glob.glob(os.path.join(folder, "calib", "*.npy")))
        name = onnxruntime.InferenceSession(os.path.join(folder, "model.onnx")).get_inputs()[0].name
        self.feeds = iter([{name: np.load(file)[:256]} for file in files])

    def get_next(self):
        return next(self.feeds, None)


def quantized(folder, path, weight_type, per_channel):
    quantize_static(os.path.join(folder, "model.onnx"), path, Reader(folder), quant_format=QuantFormat.QDQ, per_channel=per_channel, weight_type=weight_type,
                    activation_type=QuantType.QUInt8, extra_options={"WeightSymmetric": True})


def dequantized_weights(path):
    """Constant i8 and u8 matrices behind DequantizeLinear, by name: integers less their zero point."""
    graph = onnx.load(path).graph
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    found = {}
    for node in graph.node:
        values = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if values is not None and values.ndim > 1 and values.dtype in (np.int8, np.uint8):
            zero = constants[node.input[2]].astype(int) if len(node.input) > 2 else np.array(0)
            axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
            if zero.ndim:
                zero = zero.reshape([-1 if i == axis % values.ndim else 1 for i in range(values.ndim)])
            found[node.input[0]] = values.astype(int) - zero
    return found


def top1(folder, path):
    script = peer.need_shared("models", "evaluate.py")
    done = subprocess.run([sys.executable, script, folder, "--model", path, "--value-only"], capture_output=True, text=True, check=True)
    return float(done.stdout)


def outputs(path, folder):
    """Of the model's first test data, in onnxruntime without its rewrites."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options)
    given = session.get_inputs()[0].name
    data = glob.glob(os.path.join(folder, "eval", "input_*.npy"))[0]
    return session.run(None, {given: np.load(data)})


def with_zeros(path, zeros):
    """The QDQ file with whole 16x1 blocks of its weights at the zero point."""
    model = onnx.load(path)
    wanted = dequantized_weights(path)
    random = np.random.default_rng(3)
    for one in model.graph.initializer:
        if one.name not in wanted:
            continue
        values = numpy_helper.to_array(one).copy()
        at_zero = values.astype(int) - wanted[one.name]
        values[..., random.random(values.shape[-1]) < 0.7] = 0
        values = np.where(values == 0, at_zero, values).astype(values.dtype)
        one.CopyFrom(numpy_helper.from_array(values, one.name))
    onnx.save(model, zeros)


def report(faults, model, weight_type, per_channel):
    for fault in faults:
        print(f"FAIL {model} {weight_type} per channel {per_channel}: {fault}")
    return bool(faults)


def check(program, model, weight_type, per_channel, folder):
    source = peer.need_shared("models", model)
    dense, pruned, zeros, packed = (os.path.join(folder, name) for name in ("dense.onnx", "pruned.onnx", "zeros.onnx", "packed.onnx"))
    quantized(source, dense, weight_type, per_channel)
    weights = dequantized_weights(dense)
    layers = {layer["weight"]: layer for layer in json.loads(peer.espalier(program, "inspect", dense, "--json", "-").stdout)["layers"]}
    faults = []
    for name, values in weights.items():
        fits = np.abs(values).max() <= 127
        layer = layers.get(name, {})
        if (layer.get("values") == "i8" and layer.get("type") == "f32") != fits:
            faults.append(f"{name}, integers from {values.min()} to {values.max()}, is listed as {layer}")
    if not weights:
        faults.append("the model has no integer weights")
    if weight_type == QuantType.QUInt8:
        return report(faults, model, weight_type, per_channel)
    before = top1(source, dense)
    for more in (["--method", "l2"], ["--calib", os.path.join(source, "calib")]):
        peer.espalier(program, "prune", dense, pruned, "--sparsity", SPARSITY, "--block", "16x1", *more, "-q")
        after = top1(source, pruned)
        print(f"{model} {weight_type} per channel {per_channel} {more[0]}: top1 {before} -> {after}, "
              f"{os.path.getsize(dense)} -> {os.path.getsize(pruned)} bytes")
        if "calib" in more[0] and after < before - MOST_LOST:
            faults.append(f"top1 fell from {before} to {after}")
        if os.path.getsize(pruned) >= os.path.getsize(dense):
            faults.append("the pruned file is not smaller")
    with_zeros(dense, zeros)
    peer.espalier(program, "convert", zeros, packed, "-q")
    if os.path.getsize(packed) >= os.path.getsize(zeros):
        faults.append(f"zeros are not packed: {os.path.getsize(zeros)} -> {os.path.getsize(packed)} bytes")
    if any(not np.array_equal(a, b) for a, b in zip(outputs(zeros, source), outputs(packed, source))):
        faults.append("the packed file's outputs are others")
    return report(faults, model, weight_type, per_channel)


def main(program):
    faults = count = 0
    for model in ("mlp_digits", "cnn_digits"):
        for weight_type in (QuantType.QInt8, QuantType.QUInt8):
            for per_channel in (False, True):
                count += 1
                with tempfile.TemporaryDirectory() as folder:
                    faults += check(program, model, weight_type, per_channel, folder)
    return peer.verdict(count, faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
