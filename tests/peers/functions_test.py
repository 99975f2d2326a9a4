#!/usr/bin/env python3
"""Networks with operators that ONNX's schemas define by other operators, between two products: run, pruned with calibration and packed, and written to NNEF, whose
file stock tract runs. All of it computes what onnxruntime computes on the ONNX file. What NNEF has no counterpart of is refused by name.

  functions_test.py ESPALIER
"""
import json
import os
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

RANDOM = np.random.default_rng(23)
TOLERANCE = 5e-5
BATCH, LENGTH, WIDTH = 2, 5, 32
node = helper.make_node


def floats(*shape):
    return (0.5 * RANDOM.standard_normal(shape)).astype(np.float32)


def value(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def network(middle, heads=None, constants=None, opset=23):
    """x [2, 5, 32] times w, then `middle` from h (or, with heads, from h4 [2, heads, 5, 32 / heads]) to m (m4), times v."""
    nodes, weights = [node("MatMul", ["x", "w"], ["h"])], {"w": floats(WIDTH, WIDTH), "v": floats(WIDTH, WIDTH), **(constants or {})}
    infos = [value("h", BATCH, LENGTH, WIDTH), value("m", BATCH, LENGTH, WIDTH)]
    if heads:
        weights |= {"apart": np.array([0, 0, heads, -1]), "joined": np.array([0, 0, -1])}
        nodes += [node("Reshape", ["h", "apart"], ["hh"]), node("Transpose", ["hh"], ["h4"], perm=[0, 2, 1, 3])]
        infos += [value(name, BATCH, heads, LENGTH, WIDTH // heads) for name in ("h4", "m4")]
    nodes += middle
    if heads:
        nodes += [node("Transpose", ["m4"], ["mm"], perm=[0, 2, 1, 3]), node("Reshape", ["mm", "joined"], ["m"])]
    nodes.append(node("MatMul", ["m", "v"], ["y"]))
    graph = helper.make_graph(nodes, "g", [value("x", BATCH, LENGTH, WIDTH)], [value("y", BATCH, LENGTH, WIDTH)], [numpy_helper.from_array(a, n) for n, a in weights.items()],
                              value_info=infos)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def rotary():
    positions = np.arange(BATCH * LENGTH).reshape(BATCH, LENGTH) % 7
    for interleaved in (0, 1):
        for dim in (0, 4):
            half = (dim or 8) // 2
            angles = floats(7, half)
            caches = {"c": np.cos(angles), "s": np.sin(angles), "p": positions}
            options = {"interleaved": interleaved, "rotary_embedding_dim": dim, "num_heads": 4}
            yield "of 3 axes", network([node("RotaryEmbedding", ["h", "c", "s", "p"], ["m"], **options)], None, caches)
            yield "of 4 axes", network([node("RotaryEmbedding", ["h4", "c", "s", "p"], ["m4"], **options)], 4, caches)
            places = {"c": np.cos(floats(BATCH, LENGTH, half)), "s": np.sin(floats(BATCH, LENGTH, half))}
            yield "without positions", network([node("RotaryEmbedding", ["h4", "c", "s"], ["m4"], interleaved=interleaved, rotary_embedding_dim=dim)], 4, places)


def others():
    slices = {"a": np.array([0]), "b": np.array([16]), "axis": np.array([2])}
    keys = [node("Slice", ["h", "a", "b", "axis"], ["k"])]
    grouped = {"q_num_heads": 4, "kv_num_heads": 2}
    yield "Attention, grouped", network([*keys, node("Attention", ["h", "k", "k"], ["m"], **grouped)], None, slices)
    yield "Attention, grouped and causal", network([*keys, node("Attention", ["h", "k", "k"], ["m"], is_causal=1, **grouped)], None, slices)
    yield "Attention, softcap", network([node("Attention", ["h", "h", "h"], ["m"], q_num_heads=4, kv_num_heads=4, softcap=2.0)])
    yield "MeanVarianceNormalization", network([node("MeanVarianceNormalization", ["h"], ["m"], axes=[0, 2])])
    yield "Swish", network([node("Swish", ["h"], ["m"], alpha=1.3)], opset=24)


# Functions that compute with extents in ways that NNEF's writer has no counterpart of.
REFUSED = {"Attention, grouped": "Mod", "Attention, grouped and causal": "CastLike", "Attention, softcap": "Mod"}


def ours(program, model, arrays, folder):
    peer.espalier(program, "run", model, "--inputs", arrays, "-o", folder, "-q")
    return [np.load(os.path.join(folder, "output_y.npy"))]


def check(program, model, folder, refused):
    source, pruned, nnef, arrays = (os.path.join(folder, name) for name in ("model.onnx", "pruned.onnx", "pruned.nnef.tgz", "in.npz"))
    onnx.save(model, source)
    feed = {"x": floats(BATCH, LENGTH, WIDTH)}
    samples = np.concatenate([feed["x"]] + [floats(BATCH, LENGTH, WIDTH) for _ in range(5)])
    np.savez(arrays, **feed)
    np.savez(os.path.join(folder, "calib.npz"), x=samples)
    expected = peer.session(source).run(None, feed)
    worst = peer.relative_difference(ours(program, source, arrays, folder), expected)
    options = ["--block", "16x1", "--sparsity", "0.5", "--min-weights", "1", "--calib", os.path.join(folder, "calib.npz")]
    rows = json.loads(peer.espalier(program, "prune", source, pruned, "-q", "--json", "-", *options).stdout)["layers"]
    found = {row["weight"]: row["method_used"] for row in rows if not row["left_out"]}
    if sorted(found) != ["v", "w"] or "l2" in found.values():
        raise RuntimeError(f"pruned: {found}")
    expected = peer.session(pruned).run(None, feed)
    worst = max(worst, peer.relative_difference(ours(program, pruned, arrays, folder), expected))
    if refused:
        told = peer.espalier(program, "convert", pruned, nnef, "-q", expect=1).stderr
        if f"{refused} of node" not in told:
            raise RuntimeError(f"refused, but not for {refused}: {told}")
        return worst
    peer.espalier(program, "convert", pruned, nnef, "-q")
    worst = max(worst, peer.relative_difference(peer.tract_outputs("", nnef, [feed])[0], expected))
    return max(worst, peer.relative_difference(ours(program, nnef, arrays, folder), expected))


def main(program):
    count = faults = 0
    for name, model in [*((f"RotaryEmbedding {name}", model) for name, model in rotary()), *others()]:
        count += 1
        with tempfile.TemporaryDirectory() as folder:
            try:
                worst = check(program, model, folder, REFUSED.get(name))
            except Exception as error:  # noqa: BLE001
                faults += 1
                print(f"FAIL {name}: {peer.one_line(error, 500)}", flush=True)
                continue
        if not worst < TOLERANCE:
            faults += 1
            print(f"FAIL {name}: {worst:.1e}", flush=True)
    return peer.verdict(count, faults)


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1])))
