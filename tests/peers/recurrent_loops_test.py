#!/usr/bin/env python3
"""Loop and Scan over the steps of a GRU, LSTM or RNN, in many spellings: espalier finds the operator, and what it runs, prunes and writes as NNEF computes what onnxruntime computes
on the loop. Loops that are no such layer stay what they are.

  recurrent_loops_test.py ESPALIER [CASES] [--seed N] [--show]

Spellings  Loop or Scan; time or batch first; weights as states that are handed on, values around the loop, constants of its body, transposed there or outside, one product or one
           for each gate, x and h next to each other, the input's product before the loop; operands in any order, h' = (1 - z) n + z h, n + z (h - n) or with z for 1 - z; runs
           counted by a constant, by the shape or by the condition; forwards and backwards.
"""
import json
import os
import random
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

TOLERANCE = 2e-5
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
GATES = {"gru_before": "zrh", "gru_after": "zrh", "lstm": "iofc", "rnn": "h"}
OPERATOR = {"gru_before": "GRU", "gru_after": "GRU", "lstm": "LSTM", "rnn": "RNN"}
# Activations of ONNX that nodes of one input spell, with attributes that are not the defaults.
OTHERS = [("Relu", {}), ("LeakyRelu", {"alpha": 0.1}), ("HardSigmoid", {"alpha": 0.3, "beta": 0.45}), ("Elu", {"alpha": 0.5}), ("Softsign", {}), ("Softplus", {}),
          ("ThresholdedRelu", {"alpha": 0.3})]


class Body:
    """Nodes of a graph, with operands of commutative operators in a random order."""

    def __init__(self, pick, prefix):
        self.pick, self.prefix, self.nodes, self.constants, self.count = pick, prefix, [], [], 0

    def name(self, what="v"):
        self.count += 1
        return f"{self.prefix}{what}_{self.count}"

    def add(self, op, *inputs, outputs=1, **attributes):
        inputs = list(inputs)
        if op in ("Add", "Mul") and self.pick.random() < 0.5:
            inputs.reverse()
        made = [self.name(op.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, made, **attributes))
        return made[0] if outputs == 1 else made

    def constant(self, value, what="c"):
        name = self.name(what)
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def integers(self, *values):
        return self.constant(np.array(values, np.int64))


class Case:
    """A model made at random of the choices above, its feed, and the operator that is to be found."""

    def __init__(self, seed):
        pick = self.pick = random.Random(seed)
        self.random = np.random.default_rng(seed)
        self.cell = pick.choice(list(GATES))
        self.scan = pick.random() < 0.35
        self.hidden, self.inputs, self.steps, self.batch = pick.choice([16, 32]), pick.choice([8, 24]), pick.choice([2, 5, 6]), pick.choice([1, 3])
        self.batch_first = pick.random() < 0.4
        self.weights_in = pick.choice(["state", "around", "body"])
        self.turned = pick.choice(["no", "no", "body", "around", "gemm"])
        self.product = pick.choice(["whole", "whole", "gates", "joined", "before"])
        if self.cell == "gru_after" and self.product == "joined" or self.cell == "gru_before" and self.product == "joined":
            self.product = "gates"
        self.backwards = pick.random() < 0.25
        self.counted = pick.choice(["constant", "shape", "condition", "counter"])
        self.biases = pick.choice([0, 1, 2])
        self.first = pick.choice(["zero", "given", "constant"])
        self.form = pick.choice(["usual", "difference", "flipped"])
        self.opset = pick.choice([11, 13, 17, 21])
        self.f = pick.choice([("Sigmoid", {})] * 3 + [("HardSigmoid", {}), ("HardSigmoid", {"alpha": 0.3, "beta": 0.5})])
        self.g = pick.choice([("Tanh", {})] * 3 + OTHERS)
        self.k = pick.choice([("Tanh", {})] * 3 + OTHERS)
        self.usual = self.f[0] == "Sigmoid" and self.g[0] == "Tanh" and (self.k[0] == "Tanh" or self.cell != "lstm")
        self.wants = pick.choice([("all",), ("last",), ("all", "last")])
        self.outer, self.body = Body(pick, ""), Body(pick, "step/")
        self.states, self.given = [], []  # of the body: (input, next), and what they start as
        self.feed = {}
        self.model = self.make()

    def floats(self, *shape):
        return (self.random.standard_normal(shape) * 0.4).astype(np.float32)

    # Weights and biases where the choices put them.
    def stored(self, value, what):
        if self.weights_in == "body":
            return self.body.constant(value, what)
        name = self.outer.constant(value, what)
        if self.weights_in == "around":
            return name
        inside = self.body.name("state")
        self.states.append((inside, self.body.add("Identity", inside), FLOAT, list(value.shape)))
        self.given.append(name)
        return inside

    def times(self, x, value, what):
        """x times the matrix [in, out]."""
        if self.turned == "gemm":
            return self.body.add("Gemm", x, self.stored(value.T.copy(), what), transB=1)
        if self.turned == "body":
            return self.body.add("MatMul", x, self.body.add("Transpose", self.stored(value.T.copy(), what), perm=[1, 0]))
        if self.turned == "around" and self.weights_in == "around":
            return self.body.add("MatMul", x, self.outer.add("Transpose", self.outer.constant(value.T.copy(), what)))
        return self.body.add("MatMul", x, self.stored(value, what))

    def plus(self, x, value, what):
        return self.body.add("Add", x, self.stored(value, what))

    def parts(self, x, count):
        """Pieces of the last axis, by Split or by slices."""
        if count == 1:
            return [x]
        if self.pick.random() < 0.5:
            return self.body.add("Split", x, outputs=count, axis=-1, **({"num_outputs": count} if self.opset >= 18 else {}))
        h, b = self.hidden, self.body
        return [b.add("Slice", x, b.integers(i * h), b.integers((i + 1) * h if i + 1 < count else 2**31 - 1), b.integers(self.pick.choice([-1, 1]))) for i in range(count)]

    def sums(self, x, h):
        """The gates' sums of x W (+ b) and of h R (+ b), a list of each; of a GRU whose reset comes first the last one of h is nothing."""
        gates, hidden = len(GATES[self.cell]), self.hidden
        w, r = self.floats(self.inputs, gates * hidden), self.floats(hidden, gates * hidden)
        b, c = self.floats(gates * hidden), self.floats(gates * hidden)
        self.r_last = r[:, -hidden:]
        of_h = gates - 1 if self.cell == "gru_before" else gates
        if self.product == "joined":
            both = self.body.add("Concat", x, h, axis=-1)
            made = self.times(both, np.concatenate([w, r]), "kernel")
            made = self.plus(made, b, "bias") if self.biases else made
            return self.parts(made, gates), [None] * gates
        if self.product == "gates":
            xs = [self.times(x, w[:, i * hidden:(i + 1) * hidden], "w") for i in range(gates)]
            hs = [self.times(h, r[:, i * hidden:(i + 1) * hidden], "r") for i in range(of_h)]
            if self.biases:
                xs = [self.plus(one, b[i * hidden:(i + 1) * hidden], "bw") for i, one in enumerate(xs)]
            if self.biases == 2:
                hs = [self.plus(one, c[i * hidden:(i + 1) * hidden], "br") for i, one in enumerate(hs)]
            return xs, hs
        if self.product == "before":
            made = x
        else:
            made = self.times(x, w, "w")
            made = self.plus(made, b, "bw") if self.biases else made
        held = self.times(h, r[:, :of_h * hidden], "r")
        held = self.plus(held, c[:of_h * hidden], "br") if self.biases == 2 else held
        self.w, self.b = w, b
        return self.parts(made, gates), self.parts(held, of_h)

    def bent(self, which, x):
        op, attributes = which
        return self.body.add(op, x, **attributes)

    def one_minus(self, z):
        return self.body.add("Sub", self.body.constant(np.float32(1)), z)

    def step(self, x, h, c):
        """h' and c' of the cell."""
        b = self.body
        xs, hs = self.sums(x, h)
        both = [b.add("Add", p, q) if q else p for p, q in zip(xs, hs + [None] * (len(xs) - len(hs)))]
        if self.cell == "rnn":
            return self.bent(self.g, both[0]), None
        if self.cell == "lstm":
            i, o, f = (self.bent(self.f, one) for one in both[:3])
            made = b.add("Add", b.add("Mul", f, c), b.add("Mul", i, self.bent(self.g, both[3])))
            return b.add("Mul", o, self.bent(self.k, made)), made
        z, r = self.bent(self.f, both[0]), self.bent(self.f, both[1])
        if self.cell == "gru_after":
            n = self.bent(self.g, b.add("Add", xs[2], b.add("Mul", r, hs[2])))
        else:
            n = self.bent(self.g, b.add("Add", xs[2], self.times(b.add("Mul", r, h), self.r_last, "rh")))
        if self.form == "difference":
            return b.add("Add", n, b.add("Mul", z, b.add("Sub", h, n))), None
        # z of the other sense: only for activations with f(-x) = 1 - f(x)
        flips = self.form == "flipped" and (self.f[0] == "Sigmoid" or self.f[1].get("beta", 0.5) == 0.5)
        keep, take = (self.one_minus(z), z) if flips else (z, self.one_minus(z))
        return b.add("Add", b.add("Mul", take, n), b.add("Mul", keep, h)), None

    def initial(self, what):
        shape = (self.batch, self.hidden)
        if self.first == "given":
            self.feed[what] = self.floats(*shape)
            return what
        if self.first == "constant":
            return self.outer.constant(self.floats(*shape), what)
        return self.outer.add("ConstantOfShape", self.outer.integers(*shape))

    def sequence(self):
        """The value around the loop that is read step by step, and its axis of time."""
        outer, shape = self.outer, [self.steps, self.batch, self.inputs]
        if self.batch_first:
            shape[0], shape[1] = shape[1], shape[0]
        self.feed["x"] = self.floats(*shape)
        value, axis = "x", int(self.batch_first)
        if self.batch_first and self.pick.random() < 0.5:
            value, axis = outer.add("Transpose", "x", perm=[1, 0, 2]), 0
        return value, axis

    def project(self, value, w, b):
        made = self.outer.add("MatMul", value, self.outer.constant(w, "w"))
        return self.outer.add("Add", made, self.outer.constant(b, "bw")) if self.biases else made

    def make(self):
        body, outer = self.body, self.outer
        value, axis = self.sequence()
        h, c = body.name("h"), body.name("c")
        states = [(h, self.initial("h0"))] + ([(c, self.initial("c0"))] if self.cell == "lstm" else [])
        x = body.name("x_step")
        loop_only = None if self.scan else self.read_step(x, axis)
        nexts = [one for one in self.step(x, h, c) if one]
        if self.product == "before":
            value = self.project(value, self.w, self.b)
        dims = [self.batch, self.hidden]
        vectors = [(one, next_one, FLOAT, dims) for (one, _), next_one in zip(states, nexts)]
        given = [start for _, start in states]
        all_states, all_given = vectors + self.states, given + self.given
        every = body.add("Identity", nexts[0])
        info = helper.make_tensor_value_info
        ins = [info(one[0], one[2], one[3]) for one in all_states]
        outs = [info(one[1], one[2], one[3]) for one in all_states]
        if self.scan:
            graph = helper.make_graph(body.nodes, "step", ins + [info(x, FLOAT, [None, None])], outs + [info(every, FLOAT, dims)], body.constants)
            way = {"scan_input_directions": [1], "scan_output_directions": [self.pick.choice([0, 1])]} if self.backwards else {}
            made = outer.add("Scan", *all_given, value, outputs=len(all_states) + 1, body=graph, num_scan_inputs=1, scan_input_axes=[axis], **way)
        else:
            made = self.loop(graph_parts=(ins, outs, every, dims), given=all_given, value=value, axis=axis, read=loop_only)
        made = made if isinstance(made, list) else [made]
        wanted = {"all": made[-1], "last": made[0]}
        outputs = [info(wanted[one], FLOAT, [None] * (3 if one == "all" else 2)) for one in self.wants]
        inputs = [info(name, FLOAT, array.shape) for name, array in self.feed.items()]
        model = helper.make_model(helper.make_graph(outer.nodes, "g", inputs, outputs, outer.constants), opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        onnx.checker.check_model(model)
        return model

    def read_step(self, x, axis):
        """Nodes of a Loop's body that take step `i` of what is called "sequence": written when the count is known."""
        place = len(self.body.nodes)
        return x, axis, place

    def loop(self, graph_parts, given, value, axis, read):
        ins, outs, every, dims = graph_parts
        body, outer, info = self.body, self.outer, helper.make_tensor_value_info
        x, axis, place = read
        index, extra = "i", []
        head = Body(self.pick, "read/")
        limit = outer.constant(np.int64(self.steps), "trips")
        if self.counted == "shape":
            shape = outer.add("Shape", "x")
            limit = outer.add("Gather", shape, outer.constant(np.int64(int(self.batch_first)), "axis"))
        if self.counted == "counter":  # a state of its own counts
            start, step = (self.steps - 1, -1) if self.backwards else (0, 1)
            extra = [("t", head.add("Add", "t", head.constant(np.int64(step), "one")))]
            given = given + [outer.constant(np.int64(start), "start")]
            index = "t"
        elif self.backwards:
            last = head.constant(np.int64(self.steps - 1), "end")
            if self.counted == "shape":
                last = head.add("Sub", limit, head.constant(np.int64(1), "one"))
            index = head.add("Sub", last, "i")
        if self.pick.random() < 0.5:
            head.nodes.append(helper.make_node("Gather", [value, index], [x], axis=axis))
        else:
            one = head.add("Reshape", index, head.integers(1))
            picked = head.add("Gather", value, one, axis=axis)
            squeeze = helper.make_node("Squeeze", [picked], [x], axes=[axis]) if self.opset < 13 else helper.make_node("Squeeze", [picked, head.integers(axis)], [x])
            head.nodes.append(squeeze)
        go = head.add("Identity", "go")
        if self.counted == "condition":
            after = head.add("Add", "i", head.constant(np.int64(1), "one"))
            go = head.add("Less", after, limit)
            limit = outer.constant(np.int64(2**63 - 1), "most")
        body.nodes[place:place] = head.nodes
        ins = [info("i", INT64, []), info("go", BOOL, [])] + ins + [info(name, INT64, []) for name, _ in extra]
        outs = [info(go, BOOL, [])] + outs + [info(name, INT64, []) for _, name in extra]
        graph = helper.make_graph(body.nodes, "step", ins, outs + [info(every, FLOAT, dims)], body.constants + head.constants)
        return outer.add("Loop", limit, outer.constant(np.array(True), "on"), *given, outputs=len(given) + 1, body=graph)

    def text(self):
        keys = ("cell scan batch_first weights_in turned product backwards counted biases first form opset f g k wants hidden inputs steps batch").split()
        return " ".join(f"{key}={getattr(self, key)}" for key in keys)


def check(program, case, folder):
    """What is wrong with a case, or nothing."""
    path, packed, nnef, data = (os.path.join(folder, name) for name in ("model.onnx", "packed.onnx", "model.nnef.tgz", "out"))
    onnx.save(case.model, path)
    feeds = []
    for name, array in case.feed.items():
        np.save(os.path.join(folder, f"input_{name}.npy"), array)
    inputs = os.path.join(folder, "inputs.npz")
    np.savez(inputs, **case.feed)
    feeds.append(case.feed)
    expected = peer.session(path).run(None, case.feed)

    def ours(model):
        peer.espalier(program, "run", model, "--inputs", inputs, "-o", data, "-q")
        return [np.load(os.path.join(data, f"output_{o.name}.npy")) for o in onnx.load(model).graph.output]

    difference = peer.relative_difference(ours(path), expected)
    if not difference <= TOLERANCE:
        return f"run differs by {difference:.1e}"
    peer.espalier(program, "prune", path, packed, "--method", "l2", "--sparsity", "0.5", "--block", "16x1", "--min-weights", "1", "-q")
    found = [node.op_type for node in onnx.load(packed).graph.node]
    if found.count(OPERATOR[case.cell]) != 1 or "Loop" in found or "Scan" in found:
        return f"{OPERATOR[case.cell]} was not found: {found}"
    stock = peer.session(packed).run(None, case.feed)
    difference = peer.relative_difference(ours(packed), stock)
    if not difference <= TOLERANCE:
        return f"onnxruntime and espalier differ by {difference:.1e} on the packed file"
    peer.espalier(program, "prune", path, packed, "--method", "l2", "--sparsity", "0", "--block", "16x1", "--min-weights", "1", "-q")
    difference = peer.relative_difference(peer.session(packed).run(None, case.feed), expected)
    if not difference <= TOLERANCE:
        return f"the operator differs from the loop by {difference:.1e}"
    known = ("Sigmoid", "Tanh", "Relu")
    spelled = all(one[0] in known for one in ((case.g,) if case.cell == "rnn" else (case.f, case.g, case.k) if case.cell == "lstm" else (case.f, case.g)))
    if not spelled:
        return None
    peer.espalier(program, "convert", path, nnef, "-q")
    difference = peer.relative_difference(peer.tract_outputs("", nnef, feeds)[0], expected)
    return None if difference <= TOLERANCE else f"tract differs by {difference:.1e}"


def other_loops():
    """Loops that are no layer of ONNX, and the weights that their products read: name, model, feed, weights."""
    random_numbers = np.random.default_rng(20)

    def floats(*shape):
        return (random_numbers.standard_normal(shape) * 0.3).astype(np.float32)

    info, node = helper.make_tensor_value_info, helper.make_node
    feed = {"x": floats(5, 2, 16)}
    weights = {name: floats(16, 32) if name == "w1" else floats(32, 32) for name in ("w1", "r1", "w2", "r2")}
    passed_on = list(weights)

    def loop(name, nodes, hidden, every, states=passed_on, more=()):
        inside = {one: f"in_{one}" for one in states}
        head = [node("Gather", ["x", "i"], ["xt"]), node("Identity", ["go"], ["on"])]
        nodes = [node(op, [inside.get(i, i) for i in inputs], outputs) for op, inputs, outputs in nodes]
        nodes += [node("Identity", [value], [f"out_{key}"]) for key, value in inside.items()]
        ins = [info("i", INT64, []), info("go", BOOL, [])] + [info(h, FLOAT, [2, 32]) for h, _ in hidden] + [info(v, FLOAT, [None, None]) for v in inside.values()]
        outs = [info("on", BOOL, [])] + [info(next_h, FLOAT, [2, 32]) for _, next_h in hidden] + [info(f"out_{key}", FLOAT, [None, None]) for key in inside]
        body = helper.make_graph(head + nodes, "step", ins, outs + [info(every, FLOAT, [None, None])])
        given = ["trips", "true"] + ["zero"] * len(hidden) + list(states)
        made = [f"last{i}" for i in range(len(hidden))] + [f"same{i}" for i in range(len(states))] + ["y"]
        constants = {"trips": np.int64(5), "true": np.array(True), "zero": np.zeros((2, 32), np.float32), **weights}
        outputs = ["y", "last0", *more]
        graph = helper.make_graph([node("Loop", given, made, body=body)], "g", [info("x", FLOAT, [5, 2, 16])], [info(o, FLOAT, [None] * (3 if o == "y" else 2)) for o in outputs],
                                  [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return name, model, feed

    layers = [("MatMul", ["xt", "w1"], ["a"]), ("MatMul", ["h1", "r1"], ["b"]), ("Add", ["a", "b"], ["c"]), ("Tanh", ["c"], ["n1"]),
              ("MatMul", ["n1", "w2"], ["d"]), ("MatMul", ["h2", "r2"], ["e"]), ("Add", ["d", "e"], ["f"]), ("Tanh", ["f"], ["n2"])]
    two = [("h1", "n1"), ("h2", "n2")]
    yield *loop("two layers in one loop", layers + [("Identity", ["n2"], ["out"])], two, "out"), passed_on
    yield *loop("the same with weights around it", layers + [("Identity", ["n2"], ["out"])], two, "out", states=()), passed_on
    yield *loop("a weight that is an output of the loop", layers + [("Identity", ["n2"], ["out"])], two, "out", more=("same3",)), ["w1", "r1", "w2"]
    head = layers[:4] + [("MatMul", ["n1", "r2"], ["out"])]
    yield *loop("a product with h of each step", head, [("h1", "n1")], "out", states=("w1", "r1", "r2")), ["w1", "r1", "r2"]
    own = layers[:3] + [("Mul", ["c", "c"], ["n1"]), ("Identity", ["n1"], ["out"])]
    yield *loop("an activation of its own", own, [("h1", "n1")], "out", states=("w1", "r1")), ["w1", "r1"]


def check_other(program, model, feed, weights, folder):
    """What is wrong with a loop that stays one: its products are layers, pruned with and without calibration."""
    path, packed, data = (os.path.join(folder, name) for name in ("model.onnx", "packed.onnx", "out"))
    onnx.save(model, path)
    inputs, found = os.path.join(folder, "inputs.npz"), os.path.join(folder, "report.json")
    np.savez(inputs, **feed)
    expected = peer.session(path).run(None, feed)

    def ours(file):
        peer.espalier(program, "run", file, "--inputs", inputs, "-o", data, "-q")
        return [np.load(os.path.join(data, f"output_{o.name}.npy")) for o in onnx.load(file).graph.output]

    if not peer.relative_difference(ours(path), expected) <= TOLERANCE:
        return "run differs"
    for options in (["--method", "l2"], ["--calib", inputs]):
        peer.espalier(program, "prune", path, packed, *options, "--sparsity", "0.5", "--block", "16x1", "--min-weights", "1", "-q", "--json", found)
        with open(found, encoding="utf-8") as file:
            pruned = [layer["weight"] for layer in json.load(file)["layers"] if not layer["left_out"]]
        if sorted(pruned) != sorted(weights):
            return f"pruned {pruned}, expected {weights}"
        if "Loop" not in [node.op_type for node in onnx.load(packed).graph.node]:
            return "the loop is gone"
        difference = peer.relative_difference(ours(packed), peer.session(packed).run(None, feed))
        if not difference <= TOLERANCE:
            return f"onnxruntime and espalier differ by {difference:.1e} on the packed file"
    return None


def main(program, cases, seed, show):
    faults, others = 0, list(other_loops())
    for name, model, feed, weights in others:
        with tempfile.TemporaryDirectory() as folder:
            try:
                wrong = check_other(program, model, feed, weights, folder)
            except Exception as error:  # noqa: BLE001
                wrong = peer.one_line(error, 300)
        if wrong or show:
            print(f"{'FAIL' if wrong else 'pass'} {name}: {wrong or ''}", flush=True)
        faults += bool(wrong)
    for number in range(seed, seed + cases):
        case = Case(number)
        with tempfile.TemporaryDirectory() as folder:
            try:
                wrong = check(program, case, folder)
            except Exception as error:  # noqa: BLE001
                wrong = peer.one_line(error, 300)
        if wrong or show:
            print(f"{'FAIL' if wrong else 'pass'} seed {number}: {wrong or ''}\n     {case.text()}", flush=True)
        faults += bool(wrong)
    return peer.verdict(cases + len(others), faults)


if __name__ == "__main__":
    words = sys.argv[1:]
    first = int(words.pop(words.index("--seed") + 1)) if "--seed" in words else 1
    plain = [word for word in words if not word.startswith("--")]
    sys.exit(main(os.path.abspath(plain[0]), int(plain[1]) if len(plain) > 1 else 60, first, "--show" in words))
