#!/usr/bin/env python3
"""Random small graphs, many of them spelled as exporters spell GELU, SiLU, HardSwish, layer normalization, BatchNormalization behind convolutions:
espalier's runtime, with its passes over the graph, against onnxruntime.

graph_fuzz_test.py ESPALIER [--graphs N] [--seed S]

A model holds many graphs that share nothing, so that a process runs them all; values in between are outputs by chance, constants hide behind
operators by chance. What onnxruntime refuses, and what is not finite, is not tried.
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
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

PER_MODEL = 50
OPSETS = (11, 13, 15, 17, 18, 20)


class Maker:
    """One graph: nodes over values with known shapes."""

    def __init__(self, seed, number, opset):
        self.random = random.Random(seed * 100003 + number)
        self.numpy = np.random.default_rng([seed, number])
        self.opset, self.prefix, self.count = opset, f"g{number}_", 0
        self.nodes, self.weights, self.feed, self.shapes, self.outputs = [], [], {}, {}, []

    def name(self):
        self.count += 1
        return f"{self.prefix}{self.count}"

    def chance(self, share):
        return self.random.random() < share

    def constant(self, array):
        """A constant, sometimes behind operators that give it."""
        array = np.asarray(array)
        name = self.name()
        if self.chance(0.15) and array.dtype == np.float32:
            kind = self.random.randrange(3)
            if kind == 0 and array.ndim >= 2:
                order = self.random.sample(range(array.ndim), array.ndim)
                self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array.transpose(np.argsort(order).tolist())), name))
                return self.op("Transpose", [name], array.shape, perm=np.argsort(np.argsort(order)).tolist())
            if kind == 1 and array.ndim >= 1 and array.shape[0] >= 2:
                cut, other = array.shape[0] // 2, self.name()
                self.weights += [numpy_helper.from_array(array[:cut].copy(), name), numpy_helper.from_array(array[cut:].copy(), other)]
                return self.op("Concat", [name, other], array.shape, axis=0)
            self.weights.append(numpy_helper.from_array(array.copy(), name))
            return self.op("Identity", [name], array.shape)
        self.weights.append(numpy_helper.from_array(array.copy(), name))
        return name

    def floats(self, *shape, scale=1.0):
        return self.constant((self.numpy.standard_normal(shape) * scale).astype(np.float32))

    def number(self, value):
        # Of rank 2 it would give a vector its rank, which onnxruntime forgets where it fuses.
        return self.constant(np.full(self.random.choice([(), (1,)]), value, np.float32))

    def op(self, kind, inputs, shape, **attributes):
        result = self.name()
        self.nodes.append(helper.make_node(kind, inputs, [result], name=f"node_{result}", **attributes))
        self.shapes[result] = tuple(shape)
        if self.chance(0.04):
            self.outputs.append(result)
        return result

    def same(self, kind, *inputs, **attributes):
        inputs = list(inputs)
        if kind in ("Mul", "Add") and self.chance(0.5):
            inputs.reverse()
        return self.op(kind, inputs, np.broadcast_shapes(*[self.shapes.get(i, ()) for i in inputs]), **attributes)

    # What exporters write.
    def gelu(self, x):
        if self.chance(0.4):
            if self.chance(0.5):
                cube = self.op("Pow", [x, self.number(3)], self.shapes[x])
                inner = self.same("Add", x, self.same("Mul", cube, self.number(0.044715)))
                u = self.same("Mul", inner, self.number(0.7978845608))
            else:
                square = self.same("Mul", x, x)
                inner = self.same("Add", self.same("Mul", square, self.number(0.044715)), self.number(1))
                u = self.same("Mul", self.same("Mul", x, self.number(0.7978845608)), inner)
            gate = self.same("Tanh", u)
        else:
            root = 2 ** 0.5 if self.chance(0.9) else 1.3
            u = self.op("Div", [x, self.number(root)], self.shapes[x]) if self.chance(0.5) else self.same("Mul", x, self.number(1 / root))
            gate = self.same("Erf", u)
        a = self.same("Add", gate, self.number(1))
        kind = self.random.randrange(3)
        if kind == 0:
            return self.same("Mul", self.same("Mul", x, a), self.number(0.5))
        if kind == 1:
            return self.same("Mul", x, self.same("Mul", a, self.number(0.5)))
        return self.same("Mul", self.same("Mul", x, self.number(0.5)), a)

    def silu(self, x):
        return self.same("Mul", x, self.same("Sigmoid", self.same("Mul", x, self.number(1.702)) if self.chance(0.3) else x))

    def hard_swish(self, x):
        if self.chance(0.3):
            return self.same("Mul", x, self.same("HardSigmoid", x, alpha=self.random.choice([1 / 6, 0.2]), beta=0.5))
        clipped = self.op("Clip", [self.same("Add", x, self.number(self.random.choice([3, 3, 3, 2]))), self.constant(np.float32(0)),
                                   self.constant(np.float32(6))], self.shapes[x])
        if self.chance(0.5):
            return self.op("Div", [self.same("Mul", x, clipped), self.number(6)], self.shapes[x])
        return self.same("Mul", self.same("Mul", clipped, self.number(1 / 6)), x)

    def mean(self, x):
        shape = self.shapes[x][:-1] + (1,)
        axis = self.random.choice([-1, len(shape) - 1])
        if self.opset >= 18:
            return self.op("ReduceMean", [x, self.constant(np.array([axis], np.int64))], shape, keepdims=1)
        return self.op("ReduceMean", [x], shape, axes=[axis], keepdims=1)

    def layer_norm(self, x):
        d = self.op("Sub", [x, self.mean(x)], self.shapes[x])
        square = self.same("Mul", d, d) if self.chance(0.3) else self.op("Pow", [d, self.constant(np.float32(2))], self.shapes[x])
        root = self.same("Sqrt", self.same("Add", self.mean(square), self.number(1e-3)))
        n = self.op("Div", [d, root], self.shapes[x])
        n = self.same("Mul", n, self.vector(x))
        return self.same("Add", n, self.vector(x)) if self.chance(0.8) else n

    def vector(self, x):
        made = self.floats(self.shapes[x][-1])
        self.shapes[made] = (self.shapes[x][-1],)
        return made

    def channels(self, x):
        """A constant that is broadcast along the channels, or a number."""
        rank, c = len(self.shapes[x]), self.shapes[x][1]
        shape = self.random.choice([(1, c) + (1,) * (rank - 2), (c,) + (1,) * (rank - 2), (1,), ()])
        made = self.floats(*shape)
        self.shapes[made] = shape
        return made

    def conv(self, x):
        n, c, *places = self.shapes[x]
        if 0 in self.shapes[x]:
            return x
        group = self.random.choice([g for g in (1, 1, 2, c) if c % g == 0])
        kernel = [self.random.choice([1, 2, 3]) for _ in places]
        if self.chance(0.2):
            made = self.random.choice([1, 2, 3])
            w = self.floats(c, made, *kernel, scale=0.5)
            shape = (n, made * group) + tuple(p + k - 1 for p, k in zip(places, kernel))
            inputs = [x, w] + ([self.floats(made * group)] if self.chance(0.5) else [])
            return self.op("ConvTranspose", inputs, shape, group=group)
        outputs = group * self.random.randint(1, 5)
        w = self.floats(outputs, c // group, *kernel, scale=0.5)
        inputs = [x, w] + ([self.floats(outputs)] if self.chance(0.5) else [])
        pads = [self.random.randint(0, k - 1) for k in kernel] * 2
        shape = (n, outputs) + tuple(max(p + 2 * b - k + 1, 1) for p, b, k in zip(places, pads, kernel))  # one that does not fit is refused
        return self.op("Conv", inputs, shape, group=group, pads=pads)

    def batch_norm(self, x):
        c = self.shapes[x][1]
        variance = self.constant((np.abs(self.numpy.standard_normal(c)) + 0.2).astype(np.float32))
        return self.op("BatchNormalization", [x, self.floats(c), self.floats(c), self.floats(c), variance], self.shapes[x])

    def matmul(self, x):
        k, n = max(self.shapes[x][-1], 1), self.random.randint(1, 9)
        if len(self.shapes[x]) == 2 and self.chance(0.4):
            return self.op("Gemm", [x, self.floats(n, k, scale=k ** -0.5), self.floats(n)], (self.shapes[x][0], n), transB=1)
        y = self.op("MatMul", [x, self.floats(k, n, scale=k ** -0.5)], self.shapes[x][:-1] + (n,))
        return self.same("Add", y, self.vector(y)) if self.chance(0.7) else y

    def unary(self, x):
        kind = self.random.choice(["Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "Erf", "Elu", "Softplus", "Abs", "Neg"])
        return self.same(kind, x)

    def scaled(self, x):
        return self.same(self.random.choice(["Mul", "Add"]), x, self.number(self.random.choice([0.5, -1.5, 0.0, 2.0])))

    def moved(self, x):
        order = self.random.sample(range(len(self.shapes[x])), len(self.shapes[x]))
        return self.op("Transpose", [x], [self.shapes[x][i] for i in order], perm=order)

    def reshaped(self, x):
        shape = [self.shapes[x][0], -1]
        count = int(np.prod(self.shapes[x][1:]))
        return self.op("Reshape", [x, self.constant(np.array(shape, np.int64))], (shape[0], count))

    def attention(self, x):
        """Over [batch, places, features], as PyTorch exports it; the mask is a constant or none."""
        batch, places, _ = self.shapes[x]
        heads, width = self.random.randint(1, 3), self.random.randint(1, 5)

        def to_heads(order):
            y = self.op("MatMul", [x, self.floats(self.shapes[x][-1], heads * width, scale=0.5)], (batch, places, heads * width))
            shape = (batch, places, heads, width)
            y = self.op("Reshape", [y, self.constant(np.array([0, 0, heads, width], np.int64))], shape)
            return self.op("Transpose", [y], [shape[i] for i in order], perm=order)

        q = to_heads([0, 2, 1, 3])
        if self.chance(0.3):
            q = self.same("Mul", q, self.number(0.7))
        k = to_heads([0, 2, 3, 1]) if self.chance(0.6) else None
        if k is None:
            k = to_heads([0, 2, 1, 3])
            k = self.op("Transpose", [k], (batch, heads, width, places), perm=[0, 1, 3, 2])
        scores = self.op("MatMul", [q, k], (batch, heads, places, places))
        if self.chance(0.7):
            scores = self.op("Div", [scores, self.number(1.5)], self.shapes[scores])
        if self.chance(0.6):
            shape = self.random.choice([(places,), (places, places), (batch, 1, 1, places), (heads, places, 1)])
            mask = self.floats(*shape)
            self.shapes[mask] = shape
            scores = self.same("Add", scores, mask)
        p = self.op("Softmax", [scores], self.shapes[scores], axis=-1 if self.chance(0.5) else 3)
        y = self.op("MatMul", [p, to_heads([0, 2, 1, 3])], (batch, heads, places, width))
        y = self.op("Transpose", [y], (batch, places, heads, width), perm=[0, 2, 1, 3])
        return self.op("Reshape", [y, self.constant(np.array([0, 0, heads * width], np.int64))], (batch, places, heads * width))

    def softmax(self, x):
        return self.same("Softmax", x, axis=-1) if self.opset >= 13 else self.same("Tanh", x)

    def pool(self, x):
        return self.op("MaxPool", [x], self.shapes[x], kernel_shape=[3] * (len(self.shapes[x]) - 2), pads=[1] * (2 * len(self.shapes[x]) - 4))

    def grow(self):
        shape = tuple(self.random.randint(1, 7) for _ in range(self.random.choice([1, 2, 3, 3, 4, 4])))
        first = self.name()
        self.feed[first] = self.numpy.standard_normal(shape).astype(np.float32)
        self.shapes[first] = shape
        x, seen = first, [first]
        for _ in range(self.random.randint(2, 9)):
            rank = len(self.shapes[x])
            steps = [self.gelu, self.silu, self.hard_swish, self.layer_norm, self.unary, self.unary, self.scaled, self.scaled, self.softmax, self.moved]
            if rank >= 2:
                steps += [self.matmul] * 4 + [self.reshaped]
            if rank == 3:
                steps += [self.attention] * 3
            if rank in (3, 4):
                steps += [self.conv] * 4 + [self.batch_norm, self.pool]
                steps += [lambda v: self.same("Mul", v, self.channels(v)), lambda v: self.same("Add", v, self.channels(v))] * 2
            x = self.random.choice(steps)(x)
            alike = [v for v in seen if self.shapes[v] == self.shapes[x]]
            if alike and self.chance(0.15):  # a residual
                x = self.same(self.random.choice(["Add", "Mul"]), x, self.random.choice(alike))
            seen.append(x)
        self.outputs = sorted(set(self.outputs + [x]))
        return self


def model_of(graphs, opset):
    def info(name, array):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None if (len(name) + i) % 3 == 0 else d for i, d in enumerate(array.shape)])

    graph = helper.make_graph(
        [n for g in graphs for n in g.nodes], "fuzz", [info(name, array) for g in graphs for name, array in g.feed.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for g in graphs for n in g.outputs], [w for g in graphs for w in g.weights])
    feed = {name: array for g in graphs for name, array in g.feed.items()}
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), feed


def runs_in_onnxruntime(graph, opset):
    model, feed = model_of([graph], opset)
    try:
        results = peer.session(model.SerializeToString()).run(None, feed)
    except Exception:  # noqa: BLE001
        return False
    # Large values hide what small ones say.
    return all(np.isfinite(y).all() and y.size and np.abs(y).max() < 1e3 for y in results)


def run_round(program, seed, opset, folder, keep):
    graphs, number = [], 0
    while len(graphs) < PER_MODEL:
        graph = Maker(seed, number, opset).grow()
        number += 1
        if runs_in_onnxruntime(graph, opset):
            graphs.append(graph)
    model, feed = model_of(graphs, opset)
    path = os.path.join(folder, f"fuzz_{seed}.onnx")
    onnx.save(model, path)
    expected = peer.session(path).run(None, feed)
    data = os.path.join(folder, f"data_{seed}", "test_data_set_0")
    os.makedirs(data)
    for kind, arrays in (("input", feed.values()), ("output", expected)):
        for i, x in enumerate(arrays):
            onnx.save_tensor(numpy_helper.from_array(x), os.path.join(data, f"{kind}_{i}.pb"))
    report = os.path.join(folder, f"report_{seed}.json")
    done = subprocess.run([program, "run", path, "--inputs", os.path.dirname(data), "--check", "--json", report], capture_output=True, text=True)
    if done.returncode == 0:
        return True
    print(f"seed {seed}, opset {opset}: exit {done.returncode} {done.stderr.strip()}")
    if done.returncode == 3:
        if keep:
            onnx.save(model, keep)
        with open(report, encoding="utf-8") as file:
            wrong = [o for o in json.load(file)["outputs"] if not o["ok"]]
        for prefix in sorted({o["name"].split("_")[0] + "_" for o in wrong}):
            graph = next(g for g in graphs if g.prefix == prefix)
            print(f"  {[(o['name'], o['max_abs']) for o in wrong if o['name'].startswith(prefix)]}")
            for node in graph.nodes:
                print("   ", node.op_type, list(node.input), "->", node.output[0], graph.shapes[node.output[0]])
    return False


def fused_nodes(program, folder):
    """How many nodes of the models that were run stand for several: a test of passes in which none does anything tests nothing."""
    count = 0
    for name in sorted(n for n in os.listdir(folder) if n.endswith(".onnx"))[:3]:
        report = os.path.join(folder, "profile.json")
        data = os.path.join(folder, name.replace("fuzz_", "data_")[:-5], "test_data_set_0")
        peer.espalier(program, "bench", os.path.join(folder, name), "--inputs", data, "--threads", "1", "--warmup", "0", "--seconds", "0", "--profile-ops", "--json", report, "-q")
        with open(report, encoding="utf-8") as file:
            ops = [row["operator"] for row in json.load(file)["operators"]]
        count += sum(op.startswith("espalier.fused.") or op in ("Gelu", "Swish", "HardSwish") for op in ops)
    return count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("espalier")
    parser.add_argument("--graphs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", help="write the last model that differs to this file")
    args = parser.parse_args()
    rounds, failures = -(-args.graphs // PER_MODEL), 0
    onnxruntime.set_default_logger_severity(4)  # graphs are refused by design
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seed, args.seed + rounds):
            failures += not run_round(args.espalier, seed, OPSETS[seed % len(OPSETS)], folder, args.keep)
        fused = fused_nodes(args.espalier, folder)
    print(f"{rounds} models of {PER_MODEL} graphs, {failures} failed; {fused} fused nodes in the first three")
    return 1 if failures or fused < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
