#!/usr/bin/env python3
"""How long `prune --calib` takes by default, two builds in turns on the same files: wide layers, chains of many small ones, a transformer.

    calibrated_times.py ESPALIER OTHER [--cases A,B] [--runs 1] [--threads 2] [--timeout 900] [--sparsity 0.7]
    calibrated_times.py --list

Prints seconds of wall clock and of CPU time (which other load moves less), peak resident memory of each, and the ratios. All inputs are random and correlated:
a few directions carry most of their energy. A process that is over --timeout is stopped; its row then gives what it had used, and ratios are lower bounds.
"""
import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402


class Graph:
    """A graph that grows node by node, with random weights of its own generator."""

    def __init__(self):
        self.nodes, self.weights, self.random, self.count = [], [], np.random.default_rng(7), 0

    def add(self, op, *inputs, **attributes):
        self.count += 1
        out = f"value_{self.count}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=f"{op.lower()}_{self.count}", **attributes))
        return out

    def constant(self, name, value):
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def weight(self, name, k, m, gain=1.0):
        return self.constant(name, self.random.standard_normal((k, m), np.float32) * np.float32(gain / k**0.5))

    def save(self, path, shape, output):
        value = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)  # noqa: E731
        graph = helper.make_graph(self.nodes, "model", [value("x", shape)], [value(output, None)], self.weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def correlated(random, rows, width):
    directions = random.standard_normal((width // 8, width), np.float32)
    strength = np.exp(-np.arange(width // 8, dtype=np.float32) / (width / 32))
    inputs = (random.standard_normal((rows, width // 8), np.float32) * strength) @ directions
    return inputs / inputs.std() + 0.1 * random.standard_normal((rows, width), np.float32)


def wide(folder, outputs, inputs, samples=4096, layers=1):
    graph, value = Graph(), "x"
    for i in range(layers):
        value = graph.add("MatMul", value, graph.weight(f"w{i}", inputs, outputs, 2**0.5))
        if i + 1 < layers:
            value = graph.add("Relu", value)
    graph.save(os.path.join(folder, "model.onnx"), ["n", inputs], value)
    np.savez(os.path.join(folder, "calib.npz"), x=correlated(graph.random, samples, inputs))


def chain(folder, layers, width=64, samples=512):
    """Products 64x64 with a residual and Relu each, so that what goes through stays of one size."""
    graph, value = Graph(), "x"
    for i in range(layers):
        inner = graph.add("Relu", graph.add("MatMul", value, graph.weight(f"w{i}", width, width, 0.3)))
        value = graph.add("Mul", graph.add("Add", value, inner), graph.constant(f"s{i}", np.float32(0.98)))
    graph.save(os.path.join(folder, "model.onnx"), ["n", width], value)
    np.savez(os.path.join(folder, "calib.npz"), x=correlated(graph.random, samples, width))


def transformer(folder, blocks=6, width=768, heads=12, length=128, sequences=64):
    """Pre-normalised blocks of attention and a feed-forward net: 7.1 M weights of products a block."""
    graph, value, head = Graph(), "x", width // heads
    shape = graph.constant("split", np.array([0, 0, heads, head], np.int64))
    back = graph.constant("join", np.array([0, 0, width], np.int64))
    scale = graph.constant("scale", np.float32(head**-0.5))
    gain, shift = graph.constant("gain", np.ones(width, np.float32)), graph.constant("shift", np.zeros(width, np.float32))
    for i in range(blocks):
        normal = graph.add("LayerNormalization", value, gain, shift, axis=-1)
        parts = [graph.add("Transpose", graph.add("Reshape", graph.add("MatMul", normal, graph.weight(f"{part}{i}", width, width)), shape), perm=perm)
                 for part, perm in (("q", (0, 2, 1, 3)), ("k", (0, 2, 3, 1)), ("v", (0, 2, 1, 3)))]
        scores = graph.add("Softmax", graph.add("Mul", graph.add("MatMul", parts[0], parts[1]), scale), axis=-1)
        heads_out = graph.add("Reshape", graph.add("Transpose", graph.add("MatMul", scores, parts[2]), perm=(0, 2, 1, 3)), back)
        value = graph.add("Add", value, graph.add("MatMul", heads_out, graph.weight(f"o{i}", width, width)))
        normal = graph.add("LayerNormalization", value, gain, shift, axis=-1)
        inner = graph.add("Relu", graph.add("MatMul", normal, graph.weight(f"up{i}", width, 4 * width)))
        value = graph.add("Add", value, graph.add("MatMul", inner, graph.weight(f"down{i}", 4 * width, width)))
    graph.save(os.path.join(folder, "model.onnx"), ["batch", length, width], value)
    inputs = correlated(graph.random, sequences * length, width).reshape(sequences, length, width)
    np.savez(os.path.join(folder, "calib.npz"), x=inputs)


CASES = {
    "1024x1024": lambda folder: wide(folder, 1024, 1024),
    "2048x2048": lambda folder: wide(folder, 2048, 2048),
    "768x3072": lambda folder: wide(folder, 768, 3072),
    "eight-2048x2048": lambda folder: wide(folder, 2048, 2048, layers=8),
    "chain-500": lambda folder: chain(folder, 500),
    "chain-2000": lambda folder: chain(folder, 2000),
    "transformer-6": transformer,
    "minilm": None,
}


def timed(program, case, folder, args):
    """Wall and CPU seconds, MiB at the peak, and how it ended."""
    if case == "minilm":
        where = peer.need_shared("models", "paraphrase_minilm_l3")
        model, calib = os.path.join(where, "model.onnx"), os.path.join(where, "calib")
    else:
        model, calib = os.path.join(folder, "model.onnx"), os.path.join(folder, "calib.npz")
    command = [program, "prune", model, os.path.join(folder, "out.onnx"), "--calib", calib, "--sparsity", args.sparsity, "--threads", args.threads, "--no-verify", "-q"]
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    ended = "whole"
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() - start > args.timeout and ended == "whole":
            ended = "stopped"
            process.send_signal(signal.SIGKILL)
        time.sleep(0.02)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and ended == "whole":
        sys.exit(f"{' '.join(map(str, command))}: exit {process.returncode} {process.stderr.read().decode()}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, ended


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="*")
    parser.add_argument("--cases", type=lambda text: text.split(","), default=list(CASES))
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--threads", default="2")
    parser.add_argument("--timeout", type=float, default=900)
    parser.add_argument("--sparsity", default="0.7")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list:
        print(*CASES, sep="\n")
        return
    programs = [os.path.abspath(program) for program in args.programs]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for case in args.cases:
        with tempfile.TemporaryDirectory() as folder:
            if CASES[case] is not None:
                CASES[case](folder)
            found = [[timed(program, case, folder, args) for program in programs] for _ in range(args.runs)]
        rows = [min(runs, key=lambda run: run[1]) for runs in zip(*found)]
        text = "  ".join(f"{wall:7.1f} s, CPU {cpu:7.1f} s, {mib:6.0f} MiB{'' if ended == 'whole' else ' (stopped)'}" for wall, cpu, mib, ended in rows)
        ratios = f"  wall {rows[0][0] / rows[-1][0]:.2f}  CPU {rows[0][1] / rows[-1][1]:.2f}" if len(rows) > 1 else ""
        print(f"{case:<16} {text}{ratios}", flush=True)


if __name__ == "__main__":
    main()
