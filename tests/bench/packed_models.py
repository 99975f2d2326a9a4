#!/usr/bin/env python3
"""Whole models packed in 16x1 blocks at 90 % zeros next to onnxruntime's dense run of the same model: one thread, in turns within one run.

    packed_models.py ESPALIER [--rounds N] [--seconds S] [--only NAME;..] [--deepsparse PYTHON]

Blocks are kept at random (speed does not ask which), but for models that were pruned in training, which are packed as they are. p is the share
of onnxruntime's time in operators whose weights were pruned; the target is 0.9 / (1 - 0.9 p) times its speed, or the row's own. Rows that
end in "step" are one step of a stream; "paced" ones begin every 10 ms with cold caches. Ratios are of medians over the rounds' minima (hot)
or medians (paced). --deepsparse names a Python that has deepsparse 1.8.0 (its Python 3.11 wheel): its run of the same weights, zeros stored, is
then taken in turns too, where it compiles the model. Models come from ../shared/models, transformers are made here with random weights.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dense_models  # noqa: E402

DENSITY = 0.1
PRUNED_KINDS = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "GRU", "LSTM", "RNN", "MatMulAdd"}
# name -> folder or sequence of a transformer, free axes cut for a step, packed as it is, target (none: by p), paced
ROWS = {name: (folder, step, False, None, False) for name, (folder, step) in dense_models.MODELS.items()}
ROWS |= {
    "bandgru_trained step": ("bandgru_trained_16x1_90", {"*": 2}, True, 6, False),
    "bandgru_trained step, paced": ("bandgru_trained_16x1_90", {"*": 2}, True, 6, True),
    "bandgru384_lpcnet step": ("bandgru384_trained_lpcnet", {"*": 2}, True, 2.5, False),
    "bandgru384_lpcnet step, paced": ("bandgru384_trained_lpcnet", {"*": 2}, True, 2.5, True),
    "transformer, 16 tokens": (16, {}, False, 4, False),
    "transformer, 128 tokens": (128, {}, False, 4.5, False),
}


def transformer(path, tokens, layers=6, width=384, heads=12, inner=1536):
    """MiniLM's shape: encoder layers with GELU spelled by Erf, normalization behind each half."""
    random = np.random.default_rng(0)
    nodes, weights = [], []

    def weight(name, *shape):
        scale = 0.5 / np.sqrt(shape[0]) if len(shape) > 1 else 0.01
        weights.append(numpy_helper.from_array((scale * random.standard_normal(shape)).astype(np.float32), name))
        return name

    def constant(name, value):
        if name not in {w.name for w in weights}:
            weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def linear(x, name, rows, cols):
        return node("Add", [weight(f"{name}.b", cols), node("MatMul", [x, weight(f"{name}.w", rows, cols)], f"{name}.mm")], name)

    def normalized(x, name):
        scale = constant("ones", np.ones(width, np.float32))
        return node("LayerNormalization", [x, scale, weight(f"{name}.b", width)], name, axis=-1, epsilon=1e-12)

    x = "x"
    split = constant("split", np.array([1, tokens, heads, width // heads], np.int64))
    merged = constant("merged", np.array([1, tokens, width], np.int64))
    root = constant("root", np.float32(np.sqrt(width // heads)))
    for i in range(layers):
        parts = []
        for part, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            y = node("Reshape", [linear(x, f"{i}.{part}", width, width), split], f"{i}.{part}.split")
            parts.append(node("Transpose", [y], f"{i}.{part}.heads", perm=order))
        scores = node("Div", [node("MatMul", parts[:2], f"{i}.scores"), root], f"{i}.scaled")
        mixed = node("MatMul", [node("Softmax", [scores], f"{i}.shares", axis=-1), parts[2]], f"{i}.mixed")
        y = node("Reshape", [node("Transpose", [mixed], f"{i}.back", perm=[0, 2, 1, 3]), merged], f"{i}.merged")
        x = normalized(node("Add", [linear(y, f"{i}.out", width, width), x], f"{i}.sum1"), f"{i}.norm1")
        y = linear(x, f"{i}.up", width, inner)
        erf = node("Erf", [node("Div", [y, constant("root2", np.float32(np.sqrt(2)))], f"{i}.div")], f"{i}.erf")
        gate = node("Add", [erf, constant("one", np.float32(1))], f"{i}.gate")
        y = node("Mul", [node("Mul", [y, gate], f"{i}.gated"), constant("half", np.float32(0.5))], f"{i}.gelu")
        x = normalized(node("Add", [linear(y, f"{i}.down", inner, width), x], f"{i}.sum2"), f"{i}.norm2")
    node("Identity", [x], "y")
    shape = [1, tokens, width]
    graph = helper.make_graph(nodes, "transformer", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return {"x": random.standard_normal(shape).astype(np.float32)}


def prunable_share(model, feed, pruned):
    """Share of onnxruntime's time in nodes of kinds that hold the pruned weights; nodes known by name count only if they read one."""
    reads = {node.name: any(i in pruned for i in node.input) for node in onnx.load(model, load_external_data=False).graph.node if node.name}
    peer = dense_models.Peer(model, feed, True)
    peer.milliseconds(0.5)
    file = peer.session.end_profiling()
    total = prunable = 0
    for event in json.loads(Path(file).read_text()):
        if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        total += event["dur"]
        name = event["name"].removesuffix("_kernel_time")
        if event["args"]["op_name"] in PRUNED_KINDS and reads.get(name, True):
            prunable += event["dur"]
    os.remove(file)
    return prunable / total


DEEPSPARSE = """
import sys, time
import numpy as np
from deepsparse import compile_model
model, feed = sys.argv[1:3]
with np.load(feed) as arrays:
    inputs = [np.ascontiguousarray(arrays[name]) for name in arrays.files]
engine = compile_model(model, batch_size=inputs[0].shape[0], num_cores=1)
outputs = engine.run(inputs, val_inp=False)
np.save(feed + ".npy", outputs[0])
print("ready", flush=True)
for line in sys.stdin:
    times, end = [], time.perf_counter() + float(line)
    while time.perf_counter() < end:
        start = time.perf_counter()
        engine.run(inputs, val_inp=False)
        times.append(1000 * (time.perf_counter() - start))
    print(min(times), flush=True)
"""


class DeepSparse:
    """DeepSparse's engine on one core, in a Python of its own; `error` says why it does not run a model."""

    def __init__(self, python, model, feed, folder):
        fixed, arrays = os.path.join(folder, "fixed.onnx"), os.path.join(folder, "feed.npz")
        proto = onnx.load(model)
        for value in proto.graph.input:  # its shapes are those of the feed: the engine wants them whole
            if value.name in feed:
                value.type.CopyFrom(helper.make_tensor_type_proto(value.type.tensor_type.elem_type, feed[value.name].shape))
        onnx.save(proto, fixed)
        np.savez(arrays, **feed)
        self.log = open(os.path.join(folder, "deepsparse.log"), "w+", encoding="utf-8")
        environment = os.environ | {"NM_DISABLE_ANALYTICS": "true"}
        self.process = subprocess.Popen([python, "-c", DEEPSPARSE, fixed, arrays], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment)
        self.error = "" if self.answer() == "ready" else self.last_words()
        self.output = None if self.error else np.load(arrays + ".npy")

    def answer(self):
        for line in self.process.stdout:
            if line.strip() == "ready" or line[0].isdigit():
                return line.strip()
        return ""

    def last_words(self):
        self.log.seek(0)
        return (self.log.read().strip().splitlines() or ["it ended"])[-1]

    def milliseconds(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return float(self.answer())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def start_deepsparse(args, packed, feed, folder):
    """The engine on the packed file's weights with zeros stored; none where it is not asked for or does not run the model."""
    if not args.deepsparse:
        return None
    zeros = os.path.join(folder, "zeros.onnx")
    subprocess.run([args.program, "convert", packed, zeros, "--profile", "dense", "-q"], check=True, capture_output=True)
    engine = DeepSparse(args.deepsparse, zeros, feed, folder)
    if engine.error:
        print(f"deepsparse: {engine.error}", file=sys.stderr)
        return None
    expected = onnxruntime.InferenceSession(zeros, providers=["CPUExecutionProvider"]).run(None, feed)[0]
    if not np.allclose(engine.output, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()):
        print(f"deepsparse: its output differs from onnxruntime's by {np.abs(engine.output - expected).max():.2g}", file=sys.stderr)
    return engine


class Paced:
    """A run of onnxruntime every 10 ms, between which the caches see something else."""

    def __init__(self, peer):
        self.peer, self.other = peer, np.zeros(8 << 20, np.float64)

    def milliseconds(self, seconds):
        times, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 20:
            begin = time.perf_counter()
            self.other += 1
            start = time.perf_counter()
            self.peer.session.run_with_iobinding(self.peer.binding)
            times.append(1000 * (time.perf_counter() - start))
            time.sleep(max(0, 0.01 - (time.perf_counter() - begin)))
        return statistics.median(times), min(times)


def pack(program, model, packed, as_it_is, report):
    command = [program, "convert", model, packed, "--json", report] if as_it_is else [
        program, "prune", model, packed, "--block", "16x1", "--sparsity", str(1 - DENSITY), "--method", "random", "--json", report]
    subprocess.run([*map(str, command), "-q"], check=True, capture_output=True)
    layers = json.loads(Path(report).read_text())["layers"]
    return {layer["weight"] for layer in layers if not layer["left_out"]}


def measure(args, name, folder, models):
    source, step, as_it_is, target, paced = ROWS[name]
    model, packed = os.path.join(folder, "model.onnx"), os.path.join(folder, "packed.onnx")
    if isinstance(source, int):
        feed = transformer(model, source)
    else:
        model = models / source / "model.onnx"
        feed = dense_models.feed_of(model, models / source, step)
    pruned = pack(args.program, model, packed, as_it_is, os.path.join(folder, "report.json"))
    inputs = os.path.join(folder, "inputs")
    os.makedirs(inputs)
    dense_models.write_feed(feed, inputs)
    share = prunable_share(model, feed, pruned)
    peer = dense_models.Peer(model, feed)
    peer = Paced(peer) if paced else peer
    options = ["--interval", "10"] if paced else []
    engine = None if paced else start_deepsparse(args, packed, feed, folder)
    ours, dense, theirs, others = [], [], [], []
    which = 0 if paced else 1
    for _ in range(args.rounds):
        key = "median_ms" if paced else "min_ms"
        ours.append(dense_models.bench(args.program, packed, inputs, args.seconds, *options)["models"][0][key])
        theirs.append(peer.milliseconds(args.seconds)[which])
        if engine:
            others.append(engine.milliseconds(args.seconds))
        dense.append(dense_models.bench(args.program, model, inputs, args.seconds, *options)["models"][0][key])
    if engine:
        engine.close()
    row = [statistics.median(values) for values in (theirs, dense, ours)]
    wanted = target or 0.9 / (1 - 0.9 * share)
    ratio = row[0] / row[2]
    print(f"| {name} | {100 * share:.0f} % | " + " | ".join(f"{value:.4g}" for value in row) +
          f" | {ratio:.2f}x | {wanted:.2f}x | {'met' if ratio >= wanted else 'short'} |" +
          (f" {row[0] / statistics.median(others):.2f}x |" if others else " - |" if args.deepsparse else ""), flush=True)
    return ratio >= wanted


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--only", default="", help="rows, divided by semicolons")
    parser.add_argument("--deepsparse", default="", help="a Python that has it")
    args = parser.parse_args()
    models = dense_models.shared_models()
    if not models.exists():
        print(f"skipped: {models} is not there")
        return 77
    print(f"one thread, {args.rounds} rounds of {args.seconds} s, onnxruntime {onnxruntime.__version__}; ms")
    more = (" DeepSparse over onnxruntime |", "---|") if args.deepsparse else ("", "")
    print(f"| model | p | onnxruntime dense | ours dense | ours packed | over onnxruntime | target | |{more[0]}\n|---|---|---|---|---|---|---|---|{more[1]}")
    names = args.only.split(";") if args.only else list(ROWS)
    met = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            met += measure(args, name, folder, models)
    print(f"{met} of {len(names)} met")
    return 0


if __name__ == "__main__":
    sys.exit(main())
