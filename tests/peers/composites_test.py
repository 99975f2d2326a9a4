#!/usr/bin/env python3
"""Operators of onnxruntime's optimizer (com.microsoft), ONNX's Attention and ConvTranspose as espalier runs them, against onnxruntime: random nodes with all that they may be
given. Weights of theirs are pruned with calibration and packed, and the written file computes the same in both.

  composites_test.py ESPALIER
"""
import os
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

RANDOM = np.random.default_rng(20)
TOLERANCE = 2e-5
MICROSOFT = "com.microsoft"


def floats(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


class Case:
    """A node: names of its inputs ("" leaves one out), those that are fed, those that are constants, attributes."""

    def __init__(self, op, names, feed, weights=None, outputs=1, domain=MICROSOFT, pruned=None, **attributes):
        self.op, self.names, self.feed, self.weights = op, names, feed, weights or {}
        self.outputs = outputs if isinstance(outputs, list) else [f"y{i}" for i in range(outputs)]
        self.domain, self.pruned, self.attributes = domain, pruned, attributes

    def model(self):
        kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32, np.dtype(bool): TensorProto.BOOL}
        node = helper.make_node(self.op, self.names, self.outputs, domain=self.domain, **self.attributes)
        inputs = [helper.make_tensor_value_info(name, kinds[value.dtype], value.shape) for name, value in self.feed.items()]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in self.outputs if name]
        graph = helper.make_graph([node], "g", inputs, outputs, [numpy_helper.from_array(v, n) for n, v in self.weights.items()])
        opsets = [helper.make_opsetid("", 23)] + [helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def activations():
    for name, numbers in (("Relu", []), ("Tanh", []), ("Sigmoid", []), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.7]), ("HardSigmoid", [0.3, 0.4])):
        feed = {"x": floats(2, 8, 9, 7)}
        more = {"activation_params": numbers} if numbers else {}
        yield Case("FusedConv", ["x", "w", "b"], feed, {"w": floats(32, 8, 3, 3), "b": floats(32)}, activation=name, pads=[1, 1, 1, 1], pruned="w", **more)
    yield Case("FusedConv", ["x", "w", "b", "z"], {"x": floats(1, 8, 6, 5), "z": floats(1, 32, 4, 3)}, {"w": floats(32, 4, 3, 3), "b": floats(32)}, activation="Relu", group=2,
               pruned="w")
    for name, numbers in (("Relu", {}), ("LeakyRelu", {"activation_alpha": 0.2}), ("Elu", {"activation_alpha": 1.5}), ("Softplus", {}), ("Softsign", {})):
        yield Case("FusedGemm", ["x", "w", "b"], {"x": floats(3, 48)}, {"w": floats(64, 48), "b": floats(64)}, transB=1, alpha=0.5, activation=name, pruned="w", **numbers)


def elementwise():
    yield Case("Gelu", ["x"], {"x": floats(2, 3, 16)})
    yield Case("BiasGelu", ["x", "b"], {"x": floats(2, 3, 16)}, {"b": floats(16)})
    yield Case("FastGelu", ["x"], {"x": floats(2, 3, 16)})
    yield Case("FastGelu", ["x", "b"], {"x": floats(2, 3, 16)}, {"b": floats(16)})
    yield Case("QuickGelu", ["x"], {"x": floats(2, 3, 16)}, alpha=1.3)
    yield Case("QuickGelu", ["x"], {"x": floats(2, 3, 16)})


def normalizations():
    pair = {"x": floats(2, 3, 16), "s": floats(2, 3, 16)}
    yield Case("SkipLayerNormalization", ["x", "s", "g", "b", "c"], pair, {"g": floats(16), "b": floats(16), "c": floats(16)}, epsilon=1e-5)
    yield Case("SkipLayerNormalization", ["x", "s", "g"], pair, {"g": floats(16)}, outputs=["y0", "", "", "y3"])
    yield Case("SkipLayerNormalization", ["x", "s", "g", "", "c"], pair, {"g": floats(16), "c": floats(16)}, outputs=["y0", "", "", "y3"])
    yield Case("SkipSimplifiedLayerNormalization", ["x", "s", "g", "c"], pair, {"g": floats(16), "c": floats(16)}, epsilon=1e-6)
    yield Case("SkipSimplifiedLayerNormalization", ["x", "s", "g"], pair, {"g": floats(16)}, outputs=["y0", "", "", "y3"])
    yield Case("SimplifiedLayerNormalization", ["x", "g"], {"x": floats(2, 3, 16)}, {"g": floats(16)}, domain="", axis=-1, epsilon=1e-5)


def attentions():
    weights = {"w": 0.3 * floats(32, 96), "b": floats(96)}
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
    yield Case("Attention", ["x", "w", "b"], {"x": floats(2, 5, 32)}, weights, num_heads=4, pruned="w")
    yield Case("Attention", ["x", "w", "b"], {"x": floats(2, 5, 32)}, weights, num_heads=4, unidirectional=1, scale=0.25, pruned="w")
    yield Case("Attention", ["x", "w", "b", "m"], {"x": floats(2, 5, 32), "m": mask}, weights, num_heads=2, pruned="w")
    yield Case("Attention", ["x", "w", "b", "m"], {"x": floats(2, 5, 32), "m": mask}, weights, num_heads=2, mask_filter_value=-1e4, unidirectional=1)
    yield Case("Attention", ["x", "w", "b", "", "", "a"], {"x": floats(2, 5, 32), "a": floats(1, 2, 5, 5)}, weights, num_heads=2)
    wide = {"w": 0.3 * floats(32, 112), "b": floats(112)}
    yield Case("Attention", ["x", "w", "b"], {"x": floats(2, 5, 32)}, wide, num_heads=4, qkv_hidden_sizes=[32, 32, 48], pruned="w")
    qkv = {"q": floats(2, 5, 32), "k": floats(2, 7, 32), "v": floats(2, 7, 32)}
    yield Case("MultiHeadAttention", ["q", "k", "v"], qkv, num_heads=4)
    yield Case("MultiHeadAttention", ["q", "k", "v", "b"], qkv, {"b": floats(96)}, num_heads=4)
    yield Case("MultiHeadAttention", ["q", "k", "v", "", "m"], {**qkv, "m": np.array([[1, 1, 0, 1, 1, 0, 0], [1] * 7], np.int32)}, num_heads=2, scale=0.5)
    yield Case("MultiHeadAttention", ["q", "k", "v", "", "", "a"], {**qkv, "a": floats(2, 4, 5, 7)}, num_heads=4)


def onnx_attentions():
    joined = {"q": floats(2, 5, 32), "k": floats(2, 7, 32), "v": floats(2, 7, 48)}
    apart = {"q": floats(2, 4, 5, 8), "k": floats(2, 4, 7, 8), "v": floats(2, 4, 7, 6)}
    keep = RANDOM.random((5, 7)) < 0.6
    keep[:, 0] = True
    for more in ({}, {"is_causal": 1}, {"scale": 0.1}):
        yield Case("Attention", ["q", "k", "v"], joined, domain="", q_num_heads=4, kv_num_heads=4, **more)
        yield Case("Attention", ["q", "k", "v"], apart, domain="", **more)
    yield Case("Attention", ["q", "k", "v", "m"], {**apart, "m": keep}, domain="")
    yield Case("Attention", ["q", "k", "v", "m"], {**apart, "m": floats(2, 1, 5, 7)}, domain="")


def transposed():
    """ConvTranspose, whose weight is pruned by group."""
    for group in (1, 2):
        weights = {"w": floats(16, 32, 3, 4), "b": floats(32 * group)}
        yield Case("ConvTranspose", ["x", "w", "b"], {"x": floats(2, 16, 5, 6)}, weights, domain="", group=group, strides=[2, 3], pads=[1, 0, 1, 2], pruned="w")
    yield Case("ConvTranspose", ["x", "w"], {"x": floats(1, 16, 9)}, {"w": floats(16, 32, 4)}, domain="", strides=[2], output_padding=[1], dilations=[2], pruned="w")


def products():
    left, right = floats(2, 5, 32), floats(2, 32, 7)
    for a in (0, 1):
        for b in (0, 1):
            x = left.swapaxes(1, 2).copy() if a else left
            y = right.swapaxes(1, 2).copy() if b else right
            yield Case("FusedMatMul", ["x", "y"], {"x": x, "y": y}, transA=a, transB=b, alpha=0.5)
            w = floats(48, 32) if b else floats(32, 48)
            yield Case("FusedMatMul", ["x", "w"], {"x": x}, {"w": w}, transA=a, transB=b, alpha=0.25, pruned="w")


def ours(program, model, feed, folder):
    arrays, out = os.path.join(folder, "in.npz"), os.path.join(folder, "out")
    np.savez(arrays, **feed)
    peer.espalier(program, "run", model, "--inputs", arrays, "-o", out, "-q")
    return [np.load(os.path.join(out, f"output_{o.name}.npy")) for o in onnx.load(model).graph.output]


def check(program, case, folder):
    source, pruned, arrays = (os.path.join(folder, name) for name in ("model.onnx", "pruned.onnx", "calib.npz"))
    onnx.save(case.model(), source)
    worst = peer.relative_difference(ours(program, source, case.feed, folder), peer.session(source).run(None, case.feed))
    if case.pruned:
        np.savez(arrays, **case.feed)
        options = ["--block", "16x1", "--sparsity", "0.5", "--min-weights", "1"]
        peer.espalier(program, "prune", source, pruned, "-q", "--calib", arrays, *options)
        # On the right, both read what was written: the blocks are the same.
        worst = max(worst, peer.relative_difference(ours(program, pruned, case.feed, folder), peer.session(pruned).run(None, case.feed)))
        if os.path.getsize(pruned) > os.path.getsize(source):
            raise RuntimeError("not packed")
    return worst


def main(program):
    groups = [activations, elementwise, normalizations, attentions, onnx_attentions, transposed, products]
    count = faults = 0
    for group in groups:
        for index, case in enumerate(group()):
            count += 1
            with tempfile.TemporaryDirectory() as folder:
                try:
                    worst = check(program, case, folder)
                except Exception as error:  # noqa: BLE001
                    faults += 1
                    print(f"FAIL {case.op} {index} {case.attributes}: {peer.one_line(error, 400)}")
                    continue
            if not worst < TOLERANCE:
                faults += 1
                print(f"FAIL {case.op} {index} {case.attributes}: {worst:.1e}")
    return peer.verdict(count, faults)


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1])))
