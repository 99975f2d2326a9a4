#!/usr/bin/env python3
"""Random operators with random attributes and shapes: espalier's runtime against onnxruntime.

ops_fuzz_test.py ESPALIER [--rounds N] [--seed S]

A round is one model of many unconnected nodes; weights are initializers or inputs by chance. What onnxruntime refuses is not tried.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

NODES = 40
OPSETS = (9, 11, 13, 15, 17, 18, 20, 21)


class Maker:
    """Random values; a node is (operator, inputs, outputs, attributes), inputs are arrays or None."""

    def __init__(self, seed, opset):
        self.random = random.Random(seed)
        self.numpy = np.random.default_rng(seed)
        self.opset = opset

    def floats(self, *shape):
        return self.numpy.uniform(-1, 1, shape).astype(np.float32)

    def extent(self, low=1, high=9):
        return self.random.randint(low, high)

    def maybe(self, value, chance=0.5):
        return value if self.random.random() < chance else None

    def choice(self, *values):
        return self.random.choice(values)

    def node(self):
        return self.choice(self.conv, self.conv_transpose, self.pool, self.recurrent, self.matmul, self.gemm, self.slice, self.pad,
                           self.reduce, self.softmax, self.binary, self.transpose, self.concat, self.split, self.gather, self.resize,
                           self.normalization)()

    def window(self, axes, kernel, transposed=False):
        attributes = {"kernel_shape": kernel}
        if self.maybe(True):
            attributes["strides"] = [self.extent(1, 3) for _ in range(axes)]
        if self.maybe(True, 0.3):
            attributes["dilations"] = [self.extent(1, 3) for _ in range(axes)]
        if transposed or self.maybe(True, 0.7):
            attributes["pads"] = [self.random.randint(0, min(k - 1, 2)) for k in kernel + kernel]
        elif self.maybe(True):
            attributes["auto_pad"] = self.choice("SAME_UPPER", "SAME_LOWER", "VALID")
            attributes.pop("dilations", None)
        return attributes

    def conv(self):
        axes, groups = self.extent(1, 2), self.choice(1, 1, 1, 2, 3)
        kernel = [self.choice(1, 1, 2, 3, 5) for _ in range(axes)]
        inputs, outputs = self.extent(1, 20), self.extent(1, 40)
        image = [self.extent(8, 20) if self.maybe(True, 0.8) else 1 for _ in range(axes)]
        values = [self.floats(self.extent(1, 3), groups * inputs, *image), self.floats(groups * outputs, inputs, *kernel)]
        return "Conv", values + [self.maybe(self.floats(groups * outputs))], 1, {**self.window(axes, kernel), "group": groups}

    def conv_transpose(self):
        axes, groups = self.extent(1, 2), self.choice(1, 1, 2)
        kernel = [self.extent(1, 4) for _ in range(axes)]
        inputs, outputs = self.extent(1, 6), self.extent(1, 6)
        image = [self.extent(1, 8) for _ in range(axes)]
        values = [self.floats(self.extent(1, 2), groups * inputs, *image), self.floats(groups * inputs, outputs, *kernel)]
        return ("ConvTranspose", values + [self.maybe(self.floats(groups * outputs))], 1,
                {**self.window(axes, kernel, transposed=True), "group": groups})

    def pool(self):
        axes = self.extent(1, 3)
        kernel = [self.extent(1, 4) for _ in range(axes)]
        attributes = self.window(axes, kernel)
        if "auto_pad" in attributes:
            # Of windows shorter than their stride the peers make something else each.
            attributes["strides"] = [min(s, k) for s, k in zip(attributes.get("strides", [1] * axes), kernel)]
        op = self.choice("MaxPool", "AveragePool")
        if op == "AveragePool":
            attributes.pop("dilations", None)
            if self.maybe(True):
                attributes["count_include_pad"] = 1
        # Average pooling with a ceiling changed its divisor between opsets and releases.
        if self.opset >= 11 and op == "MaxPool" and self.maybe(True, 0.3):
            attributes["ceil_mode"] = 1
        return op, [self.floats(self.extent(1, 2), self.extent(1, 5), *[self.extent(5, 12) for _ in range(axes)])], 1, attributes

    def recurrent(self):
        op, gates, states = self.choice(("GRU", 3, 1), ("LSTM", 4, 2), ("RNN", 1, 1))
        direction = self.choice("forward", "reverse", "bidirectional")
        d = 2 if direction == "bidirectional" else 1
        t, n, i, h = self.extent(1, 7), self.extent(1, 4), self.extent(1, 20), self.extent(1, 40)
        attributes = {"hidden_size": h, "direction": direction}
        if op == "GRU" and self.maybe(True):
            attributes["linear_before_reset"] = 1
        values = [self.floats(t, n, i), self.floats(d, gates * h, i), self.floats(d, gates * h, h)]
        values.append(self.maybe(self.floats(d, 2 * gates * h)))
        values.append(self.maybe(self.numpy.integers(1, t + 1, n).astype(np.int32), 0.3))
        values += [self.maybe(self.floats(d, n, h)) for _ in range(states)]
        if op == "LSTM":
            values.append(self.maybe(self.floats(d, 3 * h), 0.3))
        return op, values, 1 + states, attributes

    def matmul(self):
        m, k, n = self.extent(), self.extent(1, 70), self.extent(1, 70)
        batch = [self.extent(1, 3) for _ in range(self.extent(0, 2))]
        left, right = list(batch), list(batch)
        if batch and self.maybe(True):
            self.choice(left, right)[0] = 1
        if self.maybe(True):
            right = []
        elif self.maybe(True, 0.3):
            left = []
        return "MatMul", [self.floats(*left, m, k), self.floats(*right, k, n)], 1, {}

    def gemm(self):
        m, k, n, ta, tb = self.extent(), self.extent(1, 70), self.extent(1, 70), self.choice(0, 1), self.choice(0, 1)
        bias = self.choice((n,), (1, n), (m, 1), (m, n), (1,))
        attributes = {"transA": ta, "transB": tb}
        if self.maybe(True, 0.3):
            attributes.update(alpha=0.7, beta=1.3)
        values = [self.floats(*((k, m) if ta else (m, k))), self.floats(*((n, k) if tb else (k, n)))]
        return "Gemm", values + [self.floats(*bias) if self.opset < 11 else self.maybe(self.floats(*bias))], 1, attributes

    def slice(self):
        rank = self.extent(1, 4)
        x = self.floats(*[self.extent() for _ in range(rank)])
        axes = self.random.sample(range(rank), self.extent(1, rank))
        bounds = lambda: np.array([self.random.randint(-12, 12) for _ in axes], np.int64)  # noqa: E731
        if self.opset < 10:
            return "Slice", [x], 1, {"axes": axes, "starts": bounds().tolist(), "ends": bounds().tolist()}
        steps = np.array([self.choice(-3, -1, 1, 2) for _ in axes], np.int64)
        return "Slice", [x, bounds(), bounds(), np.array(axes, np.int64), steps], 1, {}

    def pad(self):
        rank = self.extent(1, 4)
        x = self.floats(*[self.extent(3, 8) for _ in range(rank)])
        mode = self.choice("constant", "reflect", "edge")
        pads = [self.random.randint(-1 if mode == "constant" else 0, 2) for _ in range(2 * rank)]
        if self.opset < 11:
            return "Pad", [x], 1, {"pads": pads, "mode": mode}
        return "Pad", [x, np.array(pads, np.int64)] + ([np.float32(0.5)] if mode == "constant" else []), 1, {"mode": mode}

    def reduce(self):
        rank = self.extent(1, 4)
        op = self.choice("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSum", "ReduceSumSquare", "ReduceLogSumExp")
        x = self.floats(*[self.extent() for _ in range(rank)])
        axes, attributes = self.random.sample(range(-rank if self.opset >= 11 else 0, 0 if self.opset >= 11 else rank),
                                              self.extent(1, rank)), {"keepdims": self.choice(0, 1)}
        if self.opset >= 18 or (op == "ReduceSum" and self.opset >= 13):
            return op, [x, np.array(axes, np.int64)], 1, attributes
        return op, [x], 1, {**attributes, "axes": axes}

    def softmax(self):
        rank = self.extent(1, 4)
        x = 5 * self.floats(*[self.extent() for _ in range(rank)])
        return self.choice("Softmax", "LogSoftmax"), [x], 1, {"axis": self.random.randrange(rank)}

    def binary(self):
        rank = self.extent(0, 4)
        shape = [self.extent(1, 6) for _ in range(rank)]
        other = [e if self.maybe(True, 0.6) else 1 for e in shape][self.extent(0, rank):]
        op = self.choice("Add", "Sub", "Mul", "Max", "Min", "PRelu", "Pow")
        a, b = self.floats(*shape), self.floats(*other)
        if op == "Pow":
            a = np.abs(a) + np.float32(0.1)
        return (op, [a, b], 1, {}) if op in ("PRelu", "Pow") or self.maybe(True) else (op, [b, a], 1, {})

    def transpose(self):
        rank = self.extent(1, 5)
        return "Transpose", [self.floats(*[self.extent(1, 40 if rank < 3 else 6) for _ in range(rank)])], 1, {
            "perm": self.random.sample(range(rank), rank)}

    def concat(self):
        rank = self.extent(1, 4)
        shape, axis = [self.extent() for _ in range(rank)], self.random.randrange(rank)
        shapes = [shape[:axis] + [self.extent()] + shape[axis + 1:] for _ in range(self.extent(1, 4))]
        return "Concat", [self.floats(*s) for s in shapes], 1, {"axis": axis}

    def split(self):
        rank = self.extent(1, 4)
        shape, axis = [self.extent() for _ in range(rank)], self.random.randrange(rank)
        sizes = [self.extent(1, 3) for _ in range(self.extent(2, 4))]
        shape[axis] = sum(sizes)
        if self.opset < 13:
            return "Split", [self.floats(*shape)], len(sizes), {"axis": axis, "split": sizes}
        return "Split", [self.floats(*shape), np.array(sizes, np.int64)], len(sizes), {"axis": axis}

    def gather(self):
        rank = self.extent(1, 3)
        shape, axis = [self.extent() for _ in range(rank)], self.random.randrange(rank)
        index = self.numpy.integers(0, shape[axis], [self.extent(1, 4) for _ in range(self.extent(0, 2))])
        return "Gather", [self.floats(*shape), np.asarray(index, np.int64)], 1, {"axis": axis}

    def resize(self):
        if self.opset < 11:
            return self.softmax()
        x = self.floats(1, self.extent(1, 3), self.extent(2, 7), self.extent(2, 7))
        coordinates = self.choice("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
        mode = self.choice("nearest", "linear", "cubic")
        # Scales that are exact in binary: half places would be rounded either way.
        scales = np.array([1, 1, self.choice(0.5, 1, 2, 3), self.choice(0.5, 1, 2, 3)], np.float32)
        if coordinates == "align_corners":  # refused where it gives no whole extent
            scales = np.maximum(scales, 1)
        roi = None if self.opset >= 13 else np.zeros(0, np.float32)
        return "Resize", [x, roi, scales], 1, {"mode": mode, "coordinate_transformation_mode": coordinates}

    def normalization(self):
        c = self.extent()
        x = self.floats(self.extent(1, 3), c, self.extent(2, 6), self.extent(2, 6))
        if self.maybe(True):
            return "BatchNormalization", [x, self.floats(c), self.floats(c), self.floats(c), np.abs(self.floats(c)) + 0.1], 1, {}
        if self.opset >= 17 and self.maybe(True):
            return "LayerNormalization", [x, self.floats(x.shape[-1]), self.maybe(self.floats(x.shape[-1]))], 1, {}
        return "InstanceNormalization", [x, self.floats(c), self.floats(c)], 1, {}


def model_of(nodes, opset):
    """`nodes`: (operator, inputs, outputs, attributes, which inputs are weights). Gives the model and its feed."""
    made, feed, weights, outputs = [], {}, [], []
    for number, (op, inputs, count, attributes, fixed) in enumerate(nodes):
        while inputs[-1] is None:
            inputs = inputs[:-1]
        names = ["" if x is None else f"n{number}_{i}" for i, x in enumerate(inputs)]
        for name, x, is_weight in zip(names, inputs, fixed):
            if x is not None and is_weight:
                weights.append(numpy_helper.from_array(np.asarray(x), name))
            elif x is not None:
                feed[name] = np.asarray(x)
        results = [f"r{number}_{i}" for i in range(count)]
        outputs += results
        made.append(helper.make_node(op, names, results, name=f"node{number}", **attributes))
    graph = helper.make_graph(
        made, "fuzz", [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for n, x in feed.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), feed


def runs_in_onnxruntime(node, opset):
    model, feed = model_of([node], opset)
    try:
        results = peer.session(model.SerializeToString()).run(None, feed)
        # A window that does not fit once is an error in espalier and an empty output in onnxruntime.
        return all(np.isfinite(y).all() and (y.size or "Pool" not in node[0]) for y in results)
    except Exception:  # noqa: BLE001
        return False


def write_tensors(folder, kind, arrays):
    for i, x in enumerate(arrays):
        with open(os.path.join(folder, f"{kind}_{i}.pb"), "wb") as file:
            file.write(numpy_helper.from_array(x).SerializeToString())


def run_round(program, seed, opset, folder):
    maker, nodes = Maker(seed, opset), []
    while len(nodes) < NODES:
        op, inputs, outputs, attributes = maker.node()
        fixed = [i > 0 and maker.random.random() < 0.7 for i in range(len(inputs))]
        node = (op, inputs, outputs, attributes, fixed)
        if runs_in_onnxruntime(node, opset):
            nodes.append(node)
    model, feed = model_of(nodes, opset)
    path = os.path.join(folder, f"fuzz_{seed}.onnx")
    onnx.save(model, path)
    expected = peer.session(path).run(None, feed)
    data = os.path.join(folder, f"data_{seed}", "test_data_set_0")
    os.makedirs(data)
    write_tensors(data, "input", feed.values())
    write_tensors(data, "output", expected)
    report = os.path.join(folder, f"report_{seed}.json")
    done = subprocess.run([program, "run", path, "--inputs", os.path.dirname(data), "--check", "--json", report], capture_output=True, text=True)
    if done.returncode == 0:
        return True
    print(f"seed {seed}, opset {opset}: exit {done.returncode} {done.stderr.strip()}")
    wrong = set()
    if done.returncode == 3:
        with open(report, encoding="utf-8") as file:
            wrong = {int(o["name"][1:].split("_")[0]) for o in json.load(file)["outputs"] if not o["ok"]}
    for number, (op, inputs, _, attributes, fixed) in enumerate(nodes):
        if number in wrong or f"node{number} " in done.stderr:
            print(f"  node{number} {op} {[None if x is None else x.shape for x in inputs]} {attributes} weights {fixed}")
    return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("espalier")
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seed, args.seed + args.rounds):
            failures += not run_round(args.espalier, seed, OPSETS[seed % len(OPSETS)], folder)
    print(f"{args.rounds} rounds of {NODES} nodes, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
