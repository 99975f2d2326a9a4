#!/usr/bin/env python3
"""AveragePool with dilations goes to NNEF and back: what is read is an operator that runs and whose neighbours are pruned, and a file in ONNX gets the opset that has dilations.
Metadata that NNEF cannot hold is named, and no speed is reported for a file that the runtime cannot run.

  dilated_pools_test.py PROGRAM
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

RANDOM = np.random.default_rng(3)
POOLS = {
    "plain": {"kernel_shape": [3, 3], "dilations": [2, 2]},
    "padding counted": {"kernel_shape": [3, 3], "dilations": [2, 2], "count_include_pad": 1, "pads": [1, 1, 1, 1]},
    "padding left out": {"kernel_shape": [3, 3], "dilations": [2, 2], "pads": [2, 2, 2, 2]},
    "strides": {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [2, 1], "pads": [1, 0, 1, 1]},
    "ceil": {"kernel_shape": [3, 3], "dilations": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    "not dilated": {"kernel_shape": [3, 3], "strides": [2, 2]},
}


def weight(*shape):
    return (RANDOM.standard_normal(shape) / 8).astype(np.float32)


def save(path, attributes):
    nodes = [helper.make_node("Conv", ["x", "before"], ["a"], pads=[1] * 4), helper.make_node("AveragePool", ["a"], ["b"], name="pool", **attributes),
             helper.make_node("Conv", ["b", "after"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, [1, 16, 13, 12])], [helper.make_tensor_value_info("y", 1, None)],
                              [numpy_helper.from_array(weight(32, 16, 3, 3), "before"), numpy_helper.from_array(weight(32, 32, 1, 1), "after")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9, doc_string="about it")
    model.metadata_props.add(key="author", value="somebody")
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def check(program, name, attributes, folder):
    source, nnef, pruned, masks, back, reference = (
        os.path.join(folder, f) for f in ("source.onnx", "out.nnef.tgz", "pruned.nnef.tgz", "masks.npz", "back.onnx", "reference.onnx"))
    save(source, attributes)
    x = RANDOM.standard_normal((1, 16, 13, 12)).astype(np.float32)
    feeds = os.path.join(folder, "x.npy")
    np.save(feeds, x)
    printed = peer.espalier(program, "convert", source, nnef).stdout
    assert "a file of format nnef cannot hold: doc_string, author" in printed, printed
    peer.espalier(program, "verify", source, nnef, "--inputs", feeds)  # runs what was read back
    report = os.path.join(folder, "report.json")
    peer.espalier(program, "prune", nnef, pruned, "--sparsity", "0.7", "--min-weights", "1", "--mask-out", masks, "--json", report, "-q")
    with open(report, encoding="utf-8") as file:
        assert {row["weight"] for row in json.load(file)["layers"] if not row["left_out"]} == {"before", "after"}
    peer.espalier(program, "mask", "apply", source, masks, "-o", reference, "-q")
    expected = peer.session(reference).run(None, {"x": x})
    peer.espalier(program, "verify", reference, pruned, "--inputs", feeds)
    assert peer.relative_difference(peer.tract_outputs("", pruned, [{"x": x}])[0], expected) < 1e-5, name
    peer.espalier(program, "convert", pruned, back, "-q")
    opset = {o.domain: o.version for o in onnx.load(back).opset_import}[""]
    assert opset == (17 if name == "not dilated" else 19), (name, opset)
    onnx.checker.check_model(back)
    assert peer.relative_difference(peer.session(back).run(None, {"x": x}), expected) < 1e-5, name


def check_metadata(program, folder):
    """A file of the same format keeps them, and nothing is said."""
    source = os.path.join(folder, "source.onnx")
    save(source, POOLS["plain"])
    printed = peer.espalier(program, "convert", source, os.path.join(folder, "same.onnx")).stdout
    assert "cannot hold" not in printed, printed
    assert onnx.load(os.path.join(folder, "same.onnx")).metadata_props[0].value == "somebody"


def main(program):
    for name, attributes in POOLS.items():
        with tempfile.TemporaryDirectory() as folder:
            check(program, name, attributes, folder)
    with tempfile.TemporaryDirectory() as folder:
        check_metadata(program, folder)
    print(f"{len(POOLS)} pools: NNEF read back, run, pruned, in tract, and as ONNX again")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
