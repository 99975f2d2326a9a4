#!/usr/bin/env python3
"""Odd calibration inputs: one sample, the same one repeated, constant levels, samples with NaN, padding. Each gives an error near that of good
data where that can be, and what could not be done is said.    odd_calibration_test.py ESPALIER"""
import json
import os
import sys
import tempfile

import numpy as np
import onnx
from onnx import helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

INPUTS, HIDDEN, OUTPUTS, TOKENS = 48, 64, 32, 16


def constant(name, array):
    return onnx.numpy_helper.from_array(array.astype(np.float32), name)


def mlp(path, random):
    """Two products with biases; free batch."""
    weights = [constant("w1", random.standard_normal((INPUTS, HIDDEN)) / 7), constant("b1", random.standard_normal(HIDDEN) / 7),
               constant("w2", random.standard_normal((HIDDEN, OUTPUTS)) / 8), constant("b2", random.standard_normal(OUTPUTS) / 8)]
    nodes = [helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]), helper.make_node("Relu", ["h"], ["r"]), helper.make_node("Gemm", ["r", "w2", "b2"], ["y"])]
    graph = helper.make_graph(nodes, "mlp", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", INPUTS])],
                              [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", OUTPUTS])], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def tokens(path, random):
    """The same two products for each token, and a mask that the outputs are multiplied with."""
    weights = [constant("w1", random.standard_normal((INPUTS, HIDDEN)) / 7), constant("b1", random.standard_normal(HIDDEN) / 7),
               constant("w2", random.standard_normal((HIDDEN, OUTPUTS)) / 8), onnx.numpy_helper.from_array(np.array([2], np.int64), "axes")]
    nodes = [helper.make_node("MatMul", ["x", "w1"], ["m"]), helper.make_node("Add", ["m", "b1"], ["h"]), helper.make_node("Relu", ["h"], ["r"]),
             helper.make_node("MatMul", ["r", "w2"], ["o"]), helper.make_node("Cast", ["mask"], ["f"], to=onnx.TensorProto.FLOAT),
             helper.make_node("Unsqueeze", ["f", "axes"], ["u"]), helper.make_node("Mul", ["o", "u"], ["y"])]
    graph = helper.make_graph(nodes, "tokens", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, TOKENS, INPUTS]),
                                                helper.make_tensor_value_info("mask", onnx.TensorProto.INT64, [1, TOKENS])],
                              [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, TOKENS, OUTPUTS])], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def correlated(random, mix, *shape):
    return (random.standard_normal((*shape, len(mix))) @ mix + 0.1 * random.standard_normal((*shape, mix.shape[1]))).astype(np.float32)


class Prunes:
    def __init__(self, program, work):
        self.program, self.work, self.count = program, work, 0

    def save(self, **arrays):
        self.count += 1
        folder = os.path.join(self.work, str(self.count))
        os.mkdir(folder)
        for name, array in arrays.items():
            np.save(os.path.join(folder, f"input_{name}.npy"), array)
        return folder

    def prune(self, model, calib, inputs, *options):
        """Relative error of the pruned model's outputs on `inputs`, by onnxruntime; all that was said."""
        out, report = os.path.join(self.work, "p.onnx"), os.path.join(self.work, "p.json")
        done = peer.espalier(self.program, "prune", model, out, "--calib", self.save(**calib), "--inputs", self.save(**inputs), "--min-weights", "1", "--block", "8x1",
                             "--json", report, *options)
        dense, pruned = (np.concatenate([peer.session(f).run(None, {n: a[i:i + 1] for n, a in inputs.items()})[0].ravel()
                                         for i in range(len(next(iter(inputs.values()))))]) for f in (model, out))
        with open(report, encoding="utf-8") as file:
            json.load(file)
        return float(np.linalg.norm(pruned - dense) / np.linalg.norm(dense)), done.stdout + done.stderr


def one_level(prunes, model, random, mix):
    """What one input alone can tell: it comes out as it did, whatever is dropped."""
    one = correlated(random, mix, 1)
    for what, x in (("one sample", one), ("one sample, 40 times", np.repeat(one, 40, 0)), ("a constant level", np.full((40, INPUTS), 0.5, np.float32))):
        error, said = prunes.prune(model, {"x": x}, {"x": x}, "--sparsity", "0.7")
        assert error < 0.01, (what, error, said)
        print(f"ok   {what}: error {error:.1e}")
        if what == "one sample":
            assert "more calibration data would improve the result" in said, said


def levels(prunes, model, random, mix):
    """Two levels span a plane: as good as of two different samples."""
    two = np.repeat(correlated(random, mix, 2), 20, 0)
    error, said = prunes.prune(model, {"x": two}, {"x": two}, "--sparsity", "0.7")
    assert error < 0.02, (error, said)
    print(f"ok   two levels: error {error:.1e}")


def with_nan(prunes, model, random, mix):
    """Samples that hold NaN or infinities say nothing: the result is that of the others, and their number is told once."""
    good, test = correlated(random, mix, 60), correlated(random, mix, 50)
    bad = np.insert(good, [5, 17, 44], np.nan, 0)
    bad[17 + 1, 3:] = 1.0
    at_once = ("--sparsity", "0.6", "--scope", "layer", "--effort", "fast")
    (a, _), (b, said) = prunes.prune(model, {"x": good}, {"x": test}, *at_once), prunes.prune(model, {"x": bad}, {"x": test}, *at_once)
    assert a == b, (a, b)
    assert said.count("3 samples that contain infinities or NaN were left out") == 1, said
    (a, _), (b, said) = prunes.prune(model, {"x": good}, {"x": test}, "--sparsity", "0.6"), prunes.prune(model, {"x": bad}, {"x": test}, "--sparsity", "0.6")
    assert b < 1.15 * a, (a, b)
    nothing, said = prunes.prune(model, {"x": np.full((20, INPUTS), np.nan, np.float32)}, {"x": test}, "--sparsity", "0.6")
    assert np.isfinite(nothing) and said.count("20 samples that contain infinities or NaN were left out") == 1 and "blocks are chosen by l2" in said, said
    print(f"ok   NaN: error {b:.4f}, without these samples {a:.4f}; of nothing else {nothing:.3f}")


def padding(prunes, model, random, mix):
    """Half of the tokens are padding of another kind: --mask-tokens gives what inputs without padding give."""
    good, test = correlated(random, mix, 40, TOKENS), correlated(random, mix, 20, TOKENS)
    full = np.ones((40, TOKENS), np.int64)
    half = full.copy()
    half[:, TOKENS // 2:] = 0
    padded = np.where(half[..., None] == 1, good, 5 + 3 * random.standard_normal(good.shape)).astype(np.float32)
    inputs = {"x": test, "mask": np.ones((20, TOKENS), np.int64)}
    best, _ = prunes.prune(model, {"x": good, "mask": full}, inputs, "--sparsity", "0.6")
    masked, _ = prunes.prune(model, {"x": padded, "mask": half}, inputs, "--sparsity", "0.6", "--mask-tokens", "mask")
    all_in, _ = prunes.prune(model, {"x": padded, "mask": half}, inputs, "--sparsity", "0.6")
    assert masked < 1.15 * best and all_in > 1.5 * masked, (best, masked, all_in)
    print(f"ok   half padding: error {masked:.4f}, without padding {best:.4f}, with it among the samples {all_in:.4f}")


def main():
    random = np.random.default_rng(5)
    mix = random.standard_normal((8, INPUTS))
    with tempfile.TemporaryDirectory() as work:
        prunes = Prunes(os.path.abspath(sys.argv[1]), work)
        model, masked = os.path.join(work, "mlp.onnx"), os.path.join(work, "tokens.onnx")
        mlp(model, random)
        tokens(masked, random)
        one_level(prunes, model, random, mix)
        levels(prunes, model, random, mix)
        with_nan(prunes, model, random, mix)
        padding(prunes, masked, random, mix)


main()
