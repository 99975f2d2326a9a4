#!/usr/bin/env python3
"""convert packs what was pruned in training, however the exporter spelled the weight, as small as prune --sparsity 0 does: a mask that is still attached
(in either order, f32 or of logicals), Transpose, Reshape, Identity, Split of a stacked weight, gates put in order by Slice and Concat, Constant nodes.
The weight keeps the name that the user knows, and onnxruntime computes the same. Then weights that training left near zero: --zero-below.

  trained_zeros_test.py PROGRAM
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

RANDOM = np.random.default_rng(1)


def blocks(rows, cols, density=0.3):
    return np.repeat(RANDOM.random((rows // 16, cols)) < density, 16, 0).astype(np.float32)


def dense(rows, cols):
    return (0.2 * RANDOM.standard_normal((rows, cols))).astype(np.float32)


def gemm(weight="w", x="x", y="y"):
    return helper.make_node("Gemm", [x, weight], [y], transB=1)


def gru():
    """Gates in torch's order, put into that of ONNX as its exporter does."""
    weights = {name: dense(192, 64) * blocks(192, 64) for name in ("rnn.weight_ih", "rnn.weight_hh")}
    nodes = []
    for i in range(3):
        weights[f"from{i}"], weights[f"to{i}"] = np.array([64 * i]), np.array([64 * i + 64])
    weights["axis"] = np.array([0])
    for short, name in (("W", "rnn.weight_ih"), ("R", "rnn.weight_hh")):
        nodes += [helper.make_node("Slice", [name, f"from{i}", f"to{i}", "axis"], [f"{short}{i}"]) for i in range(3)]
        nodes += [helper.make_node("Concat", [f"{short}1", f"{short}0", f"{short}2"], [f"{short}zrh"], axis=0),
                  helper.make_node("Unsqueeze", [f"{short}zrh", "axis"], [short])]
    nodes += [helper.make_node("Unsqueeze", ["x", "axis"], ["x3"]), helper.make_node("GRU", ["x3", "W", "R"], ["y"], hidden_size=64, linear_before_reset=1)]
    return nodes, weights, {"rnn.weight_ih", "rnn.weight_hh"}


def constants():
    nodes, weights, names = gru()
    made = [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value)) for name, value in weights.items()]
    return made + nodes, {}, names


def cases():
    """name -> nodes, weights, names of layers that are to be packed."""
    mask, orig = blocks(64, 64), dense(64, 64)
    product = helper.make_node("Mul", ["fc.weight_orig", "fc.weight_mask"], ["w"])
    turned = helper.make_node("Mul", ["fc.weight_mask", "fc.weight_orig"], ["w"])
    result = {
        "mask attached": ([product, gemm()], {"fc.weight_orig": orig, "fc.weight_mask": mask}, {"fc.weight_orig"}),
        "mask first": ([turned, gemm()], {"fc.weight_mask": mask, "fc.weight_orig": orig}, {"fc.weight_orig"}),
        "mask of logicals": ([helper.make_node("Cast", ["fc.weight_mask"], ["m"], to=TensorProto.FLOAT), helper.make_node("Mul", ["fc.weight_orig", "m"], ["w"]), gemm()],
                             {"fc.weight_mask": mask.astype(bool), "fc.weight_orig": orig}, {"fc.weight_orig"}),
        "transposed": ([helper.make_node("Transpose", ["W"], ["Wt"], perm=[1, 0]), helper.make_node("MatMul", ["x", "Wt"], ["y"])], {"W": orig * mask}, {"W"}),
        "reshaped": ([helper.make_node("Identity", ["W"], ["i"]), helper.make_node("Reshape", ["i", "shape"], ["w"]), gemm()],
                     {"W": (orig * mask).reshape(-1), "shape": np.array([64, 64])}, {"W"}),
        "split": ([helper.make_node("Split", ["in_proj", "sizes"], ["q", "k"], axis=0), gemm("q", "x", "a"), gemm("k", "x", "b"), helper.make_node("Add", ["a", "b"], ["y"])],
                  {"in_proj": dense(128, 64) * blocks(128, 64), "sizes": np.array([64, 64])}, {"in_proj.0", "in_proj.1"}),
        "gates": gru(),
        "constants": constants(),
    }
    return result


def save(path, nodes, weights):
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, [1, 64])], [helper.make_tensor_value_info("y", 1, None)],
                              [numpy_helper.from_array(w, n) for n, w in weights.items()])
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def report(program, folder, *arguments):
    path = os.path.join(folder, "report.json")
    peer.espalier(program, *arguments, "-q", "--json", path)
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def check(program, name, nodes, weights, expected, folder):
    source, out, pruned = (os.path.join(folder, f) for f in ("source.onnx", "out.onnx", "pruned.onnx"))
    save(source, nodes, weights)
    x = {"x": RANDOM.standard_normal((1, 64)).astype(np.float32)}
    rows = report(program, folder, "convert", source, out)["layers"]
    packed = {row["weight"] for row in rows if not row["left_out"]}
    assert packed == expected, (name, packed)
    listed = {row["weight"] for row in report(program, folder, "inspect", source)["layers"]}
    assert expected <= listed, (name, listed)
    report(program, folder, "prune", source, pruned, "--sparsity", "0", "--block", "16x1", "--min-weights", "1")
    sizes = os.path.getsize(out), os.path.getsize(pruned), os.path.getsize(source)
    assert sizes[0] <= 1.03 * sizes[1] and sizes[0] < 0.8 * sizes[2], (name, sizes)
    difference = peer.relative_difference(peer.session(out).run(None, x), peer.session(source).run(None, x))
    assert difference < 1e-6, (name, difference)
    print(f"{name}: {sizes[2]} -> {sizes[0]} bytes, prune --sparsity 0 {sizes[1]}")


def check_unpacked(program, folder):
    """Nothing to pack behind the operators: the graph stays as it was."""
    source, out = os.path.join(folder, "source.onnx"), os.path.join(folder, "out.onnx")
    save(source, [helper.make_node("Transpose", ["W"], ["Wt"], perm=[1, 0]), helper.make_node("MatMul", ["x", "Wt"], ["y"])], {"W": dense(64, 64)})
    report(program, folder, "convert", source, out)
    assert [node.op_type for node in onnx.load(out).graph.node] == ["Transpose", "MatMul"]


def check_near_zero(program, folder):
    source, out = os.path.join(folder, "source.onnx"), os.path.join(folder, "out.onnx")
    mask = blocks(64, 64, 0.08)
    weight = np.where(mask == 1, dense(64, 64), np.float32(1e-8) * dense(64, 64)).astype(np.float32)
    save(source, [gemm("fc.w")], {"fc.w": weight})
    for command in (["inspect", source], ["convert", source, out]):
        printed = peer.espalier(program, *command).stdout
        assert "--zero-below 1e-6" in printed and "fc.w" in printed, printed
    assert os.path.getsize(out) > 0.9 * os.path.getsize(source)
    printed = peer.espalier(program, "convert", source, out, "--zero-below", "1e-6").stdout
    assert "but not zero" not in printed, printed
    assert os.path.getsize(out) < 0.25 * os.path.getsize(source)
    x = {"x": RANDOM.standard_normal((1, 64)).astype(np.float32)}
    assert peer.relative_difference(peer.session(out).run(None, x), peer.session(source).run(None, x)) < 1e-5
    report(program, folder, "convert", out, os.path.join(folder, "dense.onnx"), "--profile", "dense")
    found = peer.weights(onnx.load(os.path.join(folder, "dense.onnx")))["fc.w"][0]
    assert (found == np.where(mask == 1, weight, 0)).all()
    peer.espalier(program, "convert", source, out, "--zero-below", "2", expect=2)


def main(program):
    for name, (nodes, weights, expected) in cases().items():
        with tempfile.TemporaryDirectory() as folder:
            check(program, name, nodes, weights, expected, folder)
    for one in (check_unpacked, check_near_zero):
        with tempfile.TemporaryDirectory() as folder:
            one(program, folder)
    print("trained zeros: packed under the weights' names")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
