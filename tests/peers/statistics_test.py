#!/usr/bin/env python3
"""The statistics of `calibrate` against numpy's, from the inputs that onnxruntime and numpy find for each weight.

  statistics_test.py ESPALIER
"""
import json
import os
import struct
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

RNG = np.random.default_rng(5)


def read(path):
    """weight -> list of (first part, parts, samples, second, mean); docs/formats/statistics.md."""
    with open(path, "rb") as file:
        data = file.read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    assert header["__metadata__"]["format"] == "espalier-statistics"

    def array(name):
        entry = header[name]
        first, last = entry["data_offsets"]
        kind = {"F64": np.float64, "U64": np.uint64}[entry["dtype"]]
        return np.frombuffer(data[8 + length + first:8 + length + last], kind).reshape(entry["shape"])

    found = {}
    for i, layer in enumerate(json.loads(header["__metadata__"]["layers"])):
        name = bytes.fromhex(layer["name"]).decode()
        found[name] = [(e["first_part"], e["parts"], e["samples"], array(f"{i}.{j}.second"), array(f"{i}.{j}.mean"))
                       for j, e in enumerate(layer["inputs"])]
    return found


def same(name, entry, first, parts, samples):
    """`samples` [n, inputs] are what the weight was multiplied with."""
    samples = np.asarray(samples, np.float64).reshape(-1, samples.shape[-1])
    assert entry[:3] == (first, parts, len(samples)), f"{name}: {entry[:3]}, {(first, parts, len(samples))} expected"
    second, mean = samples.T @ samples / len(samples), samples.mean(0)
    for what, found, wanted in (("second", entry[3], second), ("mean", entry[4], mean)):
        gap = np.abs(found - wanted).max() / np.abs(second).max()
        assert gap < 1e-5, f"{name}: {what} is off by {gap}"
    assert np.array_equal(entry[3], entry[3].T), f"{name}: not symmetric"


def save(folder, nodes, weights, shape, out_rank, opset=17):
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * out_rank)],
                              [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()])
    path = os.path.join(folder, "m.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def calibrate(program, folder, model, x, *options):
    data, out = os.path.join(folder, "x.npy"), os.path.join(folder, "s.safetensors")
    np.save(data, x.astype(np.float32))
    peer.espalier(program, "calibrate", model, "--inputs", data, "-o", out, "--min-weights", "1", "-q", *options)
    return read(out)


def products(program, folder):
    """MatMul, then Gemm with transB; 300 samples are more than one product's worth."""
    a, b = RNG.standard_normal((12, 20)), RNG.standard_normal((7, 20))
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("Relu", ["h"], ["r"]),
             helper.make_node("Gemm", ["r", "b"], ["y"], transB=1)]
    x = RNG.standard_normal((300, 12))
    found = calibrate(program, folder, save(folder, nodes, {"a": a, "b": b}, ["n", 12], 2), x)
    same("MatMul", found["a"][0], 0, 1, x)
    same("Gemm", found["b"][0], 0, 1, np.maximum(x @ a, 0))


def convolution(program, folder):
    """Two groups, 3x2 windows, stride and padding; the positions are those of numpy's own im2col."""
    w = RNG.standard_normal((6, 2, 3, 2))
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=2, strides=[2, 1], pads=[1, 0, 1, 1])
    x = RNG.standard_normal((3, 4, 7, 5)).astype(np.float32)
    model = save(folder, [node], {"w": w}, ["n", 4, 7, 5], 4)
    found = calibrate(program, folder, model, x, "--positions", "0")["w"]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 2), (2, 3))[:, :, ::2]
    for group in range(2):
        columns = windows[:, 2 * group:2 * group + 2].transpose(0, 2, 3, 1, 4, 5).reshape(-1, 12)
        same(f"Conv, group {group}", found[group], group, 1, columns)
    few = calibrate(program, folder, model, x, "--positions", "7")["w"]
    assert [e[2] for e in few] == [21, 21], "7 positions of each of 3 images were asked for"


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def gru_states(x, w, r, b, reset_after, backwards):
    """States before each step and, times the reset gate, what a candidate sees without linear_before_reset."""
    hidden = r.shape[-1]
    h, states, reset = np.zeros((x.shape[1], hidden)), [], []
    for step in (x[::-1] if backwards else x):
        states.append(h)
        g, u = step @ w.T + b[:3 * hidden], h @ r[:2 * hidden].T + b[3 * hidden:5 * hidden]
        z, k = (sigmoid(g[:, i * hidden:(i + 1) * hidden] + u[:, i * hidden:(i + 1) * hidden]) for i in range(2))
        reset.append(k * h)
        rn, bn = r[2 * hidden:], b[5 * hidden:]
        n = np.tanh(g[:, 2 * hidden:] + (k * (h @ rn.T + bn) if reset_after else (k * h) @ rn.T + bn))
        h = (1 - z) * n + z * h
    return np.stack(states), np.stack(reset)


def gru(program, folder, reset_after):
    hidden, inputs = 9, 5
    w, r, b = (RNG.standard_normal(s) * 0.5 for s in ((2, 27, inputs), (2, 27, hidden), (2, 54)))
    node = helper.make_node("GRU", ["x", "w", "r", "b"], ["y"], hidden_size=hidden, direction="bidirectional", linear_before_reset=int(reset_after))
    x = RNG.standard_normal((4, 11, 1, inputs))
    found = calibrate(program, folder, save(folder, [node], {"w": w, "r": r, "b": b}, [11, 1, inputs], 4), x)
    for d in range(2):
        same("GRU, W", found["w"][d], 3 * d, 3, x)
        runs = [gru_states(sample, w[d], r[d], b[d], reset_after, d == 1) for sample in x]
        states, reset = np.stack([s for s, _ in runs]), np.stack([k for _, k in runs])
        if reset_after:
            same("GRU, R", found["r"][d], 3 * d, 3, states)
        else:
            same("GRU, R of z and r", found["r"][2 * d], 3 * d, 2, states)
            same("GRU, R of the candidate", found["r"][2 * d + 1], 3 * d + 2, 1, reset)


def lstm_and_rnn(program, folder):
    """States are outputs of onnxruntime, one step late."""
    for op, gates in (("LSTM", 4), ("RNN", 1)):
        w, r = (RNG.standard_normal((1, gates * 8, n)) * 0.5 for n in (6, 8))
        model = save(folder, [helper.make_node(op, ["x", "w", "r"], ["y"], hidden_size=8)], {"w": w, "r": r}, [13, 1, 6], 4)
        x = RNG.standard_normal((3, 13, 1, 6)).astype(np.float32)
        found = calibrate(program, folder, model, x)
        y = np.stack([peer.session(model).run(None, {"x": sample})[0][:, 0] for sample in x])
        states = np.concatenate([np.zeros_like(y[:, :1]), y[:, :-1]], 1)
        same(f"{op}, W", found["w"][0], 0, gates, x)
        same(f"{op}, R", found["r"][0], 0, gates, states)


def files(program, folder):
    """Merging two halves gives the whole; a changed byte, a cut file and another model's are refused."""
    model = save(folder, [helper.make_node("MatMul", ["x", "a"], ["y"])], {"a": RNG.standard_normal((12, 20))}, ["n", 12], 2)
    x = RNG.standard_normal((90, 12)).astype(np.float32)
    parts = []
    for i, piece in enumerate((x[:40], x[40:])):
        parts.append(os.path.join(folder, f"{i}.safetensors"))
        calibrate(program, folder, model, piece)
        os.replace(os.path.join(folder, "s.safetensors"), parts[-1])
    out = os.path.join(folder, "all.safetensors")
    peer.espalier(program, "calibrate", "--merge", *parts, "-o", out, "-q")
    same("merged", read(out)["a"][0], 0, 1, x)
    calibrate(program, folder, model, x[:40], "--threads", "2")
    with open(os.path.join(folder, "s.safetensors"), "rb") as a, open(parts[0], "rb") as b:
        data = b.read()
        assert a.read() == data, "another number of threads gives another file"
    bad = os.path.join(folder, "bad.safetensors")
    for what, content in (("cut", data[:-9]), ("changed", data[:-40] + b"\x01" + data[-39:]), ("longer", data + b"\0"), ("header cut", data[:100])):
        with open(bad, "wb") as file:
            file.write(content)
        done = peer.espalier(program, "calibrate", "--merge", bad, "-o", out, expect=1)
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, f"{what}: {done.stderr}"
    other = save(folder, [helper.make_node("MatMul", ["x", "a"], ["y"])], {"a": RNG.standard_normal((12, 20))}, ["n", 12], 2)
    calibrate(program, folder, other, x)
    done = peer.espalier(program, "calibrate", "--merge", parts[0], os.path.join(folder, "s.safetensors"), "-o", out, expect=1)
    assert "different models" in done.stderr, done.stderr


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        products(program, folder)
        convolution(program, folder)
        gru(program, folder, True)
        gru(program, folder, False)
        lstm_and_rnn(program, folder)
        files(program, folder)
    print("statistics of MatMul, Gemm, Conv, GRU, LSTM and RNN are numpy's")


main()
