"""Models of one weight each, of a given size, and how they are packed: what a reader must compute at load and not in each call."""
import json
import os
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import peer

OPERATORS = ["MatMul", "Gemm", "Conv", "GRU", "LSTM"]
SIZES = [1, 5, 16, 64]  # MiB of the weight
BLOCKS = ["16x1", "16x4", "1x1"]
VALUES = ["f32", "f16", "i8"]
# outputs, inputs; a convolution's are of windows of 3 x 3; of a recurrent weight the extent of its state
MATRIX = {1: (512, 512), 5: (1024, 1280), 16: (2048, 2048), 64: (4096, 4096)}
CONV = {1: (160, 180), 5: (384, 380), 16: (688, 676), 64: (1360, 1368)}
STATE = {"GRU": {1: 288, 5: 656, 16: 1184, 64: 2368}, "LSTM": {1: 256, 5: 576, 16: 1024, 64: 2048}}
MORE = 5  # rows and columns that make 16x1 and 16x4 ragged


def model(operator, size, ragged, path):
    """Writes an ONNX model of one operator at batch 1, one step; gives its feed. A ragged recurrent weight is ragged in each gate."""
    random = np.random.default_rng(size)
    weights = []

    def weight(name, *shape):
        weights.append(numpy_helper.from_array((random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32), name))
        return name

    extra = MORE if ragged else 0
    if operator in ("MatMul", "Gemm"):
        outputs, inputs = (extent + extra for extent in MATRIX[size])
        feeds = {"x": [1, inputs]}
        if operator == "MatMul":
            node = helper.make_node("MatMul", ["x", weight("w", inputs, outputs)], ["y"])
        else:
            node = helper.make_node("Gemm", ["x", weight("w", outputs, inputs), weight("b", outputs)], ["y"], transB=1)
    elif operator == "Conv":
        outputs, inputs = (extent + extra for extent in CONV[size])
        feeds = {"x": [1, inputs, 4, 4]}
        node = helper.make_node("Conv", ["x", weight("w", outputs, inputs, 3, 3)], ["y"], kernel_shape=[3, 3])
    else:
        state, gates, inputs = STATE[operator][size] + extra, peer.GATES[operator], 64
        feeds = {"x": [1, 1, inputs], "h": [1, 1, state]} | ({"c": [1, 1, state]} if operator == "LSTM" else {})
        weight("w", 1, gates * state, inputs), weight("r", 1, gates * state, state), weight("b", 1, 2 * gates * state)
        node = helper.make_node(operator, ["x", "w", "r", "b", "", *list(feeds)[1:]], ["y"], hidden_size=state, **({"linear_before_reset": 1} if operator == "GRU" else {}))
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, extents) for name, extents in feeds.items()]
    graph = helper.make_graph([node], operator, inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], weights)
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(whole), path)
    return {name: random.standard_normal(extents).astype(np.float32) for name, extents in feeds.items()}


def pack(program, source, target, block, values, diagonal, sparsity=0.9):
    """Prunes to `target`, packed ONNX; blocks at random, as speed does not ask which. A kept diagonal is stored apart from the blocks."""
    peer.espalier(program, "prune", source, target, "-q", "--no-verify", "--method", "random", "--scope", "layer", "--sparsity", sparsity, "--block", block,
                  "--values", values, "--diagonal", "keep" if diagonal else "prune", "--min-weights", "1000")


def times(reader, first, second, feed, folder, seconds, version="", python=sys.executable):
    """What time_models.py prints: milliseconds a call of both models in a reader."""
    given = os.path.join(folder, "in.npz")
    np.savez(given, **feed)
    script = os.path.join(peer.ROOT, "tests/support/time_models.py")
    done = subprocess.run([python, script, reader, first, second, given, str(seconds)], capture_output=True, text=True, env=peer.tract_environment(version))
    if done.returncode != 0:
        raise RuntimeError(f"{reader} {version}: {done.stderr[-700:]}")
    return json.loads(done.stdout)
