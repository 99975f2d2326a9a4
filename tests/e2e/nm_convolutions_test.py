#!/usr/bin/env python3
"""N:M of convolutions: the groups are input channels of one window position, by every method, as TensorRT, TFLite's kernels and apex's ASP take them; inspect says 2:4 and 4:8; what is
packed of it computes the same in onnxruntime, tract and espalier, in every profile.

  nm_convolutions_test.py PROGRAM
"""
import json
import os
import sys
import tempfile

import numpy as np
import onnx
from onnx import helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

RANDOM = np.random.default_rng(7)
# name -> shape of the weight, groups. 6 channels: the last group of four is ragged.
WEIGHTS = {"first": ((32, 6, 3, 3), 1), "wide": ((32, 32, 3, 3), 1), "grouped": ((32, 8, 3, 3), 4), "pointwise": ((32, 32, 1, 1), 1)}


def save(path):
    nodes, value = [], "x"
    for name, (shape, groups) in WEIGHTS.items():
        nodes.append(helper.make_node("Conv", [value, name], [f"{name}_out"], name=name, group=groups, pads=[shape[-1] // 2] * 4))
        nodes.append(helper.make_node("Relu", [f"{name}_out"], [f"{name}_relu"]))
        value = f"{name}_relu"
    nodes[-1].output[0] = "y"
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, [1, 6, 8, 8])], [helper.make_tensor_value_info("y", 1, [1, 32, 8, 8])],
                              [numpy_helper.from_array((RANDOM.standard_normal(s) / np.sqrt(s[1] * 9)).astype(np.float32), n) for n, (s, _) in WEIGHTS.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def kept_of_groups(weight, of):
    """[outputs, positions, groups]: elements kept of each `of` channels, and how many channels each group has. As apex's ASP: weight.permute(2, 3, 0, 1)."""
    outputs, channels = weight.shape[:2]
    by_position = weight.reshape(outputs, channels, -1).transpose(0, 2, 1)
    cuts = range(0, channels, of)
    kept = np.stack([np.count_nonzero(by_position[:, :, c : c + of], axis=2) for c in cuts], axis=2)
    return kept, np.array([min(of, channels - c) for c in cuts])


def dense_weights(program, packed, folder):
    dense = os.path.join(folder, "decoded.onnx")
    peer.espalier(program, "convert", packed, dense, "--profile", "dense", "-q")
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(dense).graph.initializer}


def patterns(program, model, folder):
    report = os.path.join(folder, "inspect.json")
    peer.espalier(program, "inspect", model, "-q", "--json", report)
    with open(report, encoding="utf-8") as file:
        return {row["weight"]: row["block"] for row in json.load(file)["layers"]}


def check(program, source, calibration, method, n, m, folder):
    pruned = os.path.join(folder, "pruned.onnx")
    given = ["--calib", calibration, "--no-refit"] if method in ("obs", "sparsegpt", "admm", "wanda") else []
    peer.espalier(program, "prune", source, pruned, "--nm", f"{n}:{m}", "--method", method, "--min-weights", 1, *given, "--no-verify", "-q")
    before, after = dense_weights(program, source, folder), dense_weights(program, pruned, folder)
    for name in WEIGHTS:
        kept, sizes = kept_of_groups(after[name], m)
        assert (kept == -(-n * sizes // m)).all(), (method, name, n, m)
        assert (after[name][after[name] != 0] == before[name][after[name] != 0]).all(), (method, name)
    found = patterns(program, pruned, folder)
    expected = f"{n}:{m}" if (n, m) in ((2, 4), (4, 8)) else "1x1"
    assert set(found.values()) == {expected}, (method, found)
    return pruned


def check_strongest(program, source, folder):
    """l1 keeps the largest two of each four channels."""
    pruned = os.path.join(folder, "pruned.onnx")
    peer.espalier(program, "prune", source, pruned, "--nm", "2:4", "--method", "l1", "--min-weights", 1, "--no-verify", "-q")
    before, after = dense_weights(program, source, folder)["wide"], dense_weights(program, pruned, folder)["wide"]
    groups = np.abs(before.reshape(32, 8, 4, 9))
    order = np.argsort(-groups, axis=2, kind="stable")
    expected = np.zeros(groups.shape, bool)
    np.put_along_axis(expected, order[:, :, :2], True, axis=2)
    assert ((after.reshape(groups.shape) != 0) == expected).all()


def check_readers(program, pruned, folder):
    """Packed as 1x1, where the positions in the index are those of the weight: every reader decodes the same."""
    x = RANDOM.standard_normal((1, 6, 8, 8)).astype(np.float32)
    dense = os.path.join(folder, "reference.onnx")
    peer.espalier(program, "convert", pruned, dense, "--profile", "dense", "-q")
    expected = peer.session(dense).run(None, {"x": x})
    for profile, index in (("function", "pairs"), ("inline", "pairs"), ("inline", "bitmap")):
        out = os.path.join(folder, f"{profile}.onnx")
        options = [] if index == "pairs" else ["--index", index]
        peer.espalier(program, "convert", pruned, out, "--profile", profile, *options, "-q")
        assert peer.relative_difference(peer.session(out).run(None, {"x": x}), expected) < 1e-6, profile
        peer.espalier(program, "verify", pruned, out)
    for profile in ("tract", "portable"):
        out = os.path.join(folder, f"{profile}.nnef.tgz")
        peer.espalier(program, "convert", pruned, out, "--profile", profile, "-q")
        assert peer.relative_difference(peer.tract_outputs("", out, [{"x": x}])[0], expected) < 1e-5, profile
        peer.espalier(program, "verify", dense, out)
    feeds = os.path.join(folder, "x.npy")
    np.save(feeds, x)
    peer.espalier(program, "verify", dense, pruned, "--inputs", feeds)  # our kernels, packed, next to dense


def check_no_pattern(program, folder):
    """Half of the zeros at random are no 2:4, and groups along positions are not either."""
    source = os.path.join(folder, "other.onnx")
    save(source)
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        weight = numpy_helper.to_array(tensor).copy()
        flat = weight.reshape(weight.shape[0], -1)
        if tensor.name == "wide":
            flat[:, np.arange(flat.shape[1]) % 4 < 2] = 0  # two of four neighbours in memory
        else:
            flat[RANDOM.random(flat.shape) < 0.5] = 0
        tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    onnx.save(model, source)
    found = patterns(program, source, folder)
    assert not {"2:4", "4:8"} & set(found.values()), found


def main(program):
    with tempfile.TemporaryDirectory() as folder:
        source, calibration = os.path.join(folder, "dense.onnx"), os.path.join(folder, "calibration.npy")
        save(source)
        np.save(calibration, RANDOM.standard_normal((32, 6, 8, 8)).astype(np.float32))
        check_strongest(program, source, folder)
        check_no_pattern(program, folder)
        for method in ("l2", "wanda", "obs", "sparsegpt", "admm"):
            for n, m in ((2, 4), (4, 8), (1, 4)):
                pruned = check(program, source, calibration, method, n, m, folder)
        check_readers(program, pruned, folder)
    print("N:M of convolutions: channels of one position, 5 methods, 3 patterns; 5 files in onnxruntime and tract")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
