#!/usr/bin/env python3
"""Weights that are no constants: an input of the model, a state of a loop, computed. They are listed with the reason; convert, prune, inspect, mask and
calibrate do everything else, and what they write computes in onnxruntime what the model does.

  weight_inputs_test.py PROGRAM
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
node = helper.make_node


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def const(name, *shape):
    mask = RANDOM.random(shape) < 0.3  # zeros to pack
    return numpy_helper.from_array((0.2 * mask * RANDOM.standard_normal(shape)).astype(np.float32), name)


def tracker(template):
    """The template is the kernel of one correlation, all other layers are ordinary."""
    nodes = [node("Conv", ["x", "w1"], ["a"]), *template, node("Conv", ["a", "template"], ["b"], group=32), node("GlobalAveragePool", ["b"], ["g"]),
             node("Flatten", ["g"], ["f"]), node("MatMul", ["f", "w2"], ["y"])]
    return nodes, [value("x", [1, 16, 20, 20])], [value("y", [1, 64])], [const("w1", 32, 16, 3, 3), const("w2", 32, 64)]


def recurrent(op, gates):
    nodes = [node(op, ["s", "w", "r"], ["h", "last"], hidden_size=16), node("Squeeze", ["last", "zero"], ["flat"]), node("Gemm", ["flat", "w2"], ["y"], transB=1)]
    return (nodes, [value("s", [3, 1, 8]), value("r", [1, 16 * gates, 16])], [value("y", [1, 64])],
            [const("w", 1, 16 * gates, 8), const("w2", 64, 16), numpy_helper.from_array(np.array([0]), "zero")])


def loop():
    body = helper.make_graph([node("Conv", ["xx", "ww"], ["o"]), node("Identity", ["cc"], ["co"]), node("Neg", ["ww"], ["wo"])], "body",
                             [value("i", [], TensorProto.INT64), value("cc", [], TensorProto.BOOL), value("ww", [8, 8, 1]), value("xx", [1, 8, 32])],
                             [value("co", [], TensorProto.BOOL), value("wo", [8, 8, 1]), value("o", [1, 8, 32])])
    nodes = [node("Loop", ["n", "", "w0", "x"], ["wf", "z"], body=body), node("MatMul", ["z", "w2"], ["y"])]
    return nodes, [value("x", [1, 8, 32])], [value("y", [1, 8, 48])], [numpy_helper.from_array(np.array(3), "n"), const("w0", 8, 8, 1), const("w2", 32, 48)]


def cases():
    """name -> graph's parts, the weight that is no constant, the reason."""
    nodes, inputs, outputs, weights = tracker([])
    computed = tracker([node("Relu", ["t"], ["template"])])
    kernel = value("t", [32, 1, 5, 5])
    return {
        "Conv, an input": ((nodes, [*inputs, value("template", [32, 1, 5, 5])], outputs, weights), "template", "an input of the model"),
        "Conv, computed": ((computed[0], [*computed[1], kernel], computed[2], computed[3]), "template", "computed at run time"),
        "GRU": (recurrent("GRU", 3), "r", "an input of the model"),
        "LSTM": (recurrent("LSTM", 4), "r", "an input of the model"),
        "RNN": (recurrent("RNN", 1), "r", "an input of the model"),
        "Loop": (loop(), "ww", "a state of the loop"),
    }


def report(program, folder, *arguments):
    path = os.path.join(folder, "report.json")
    peer.espalier(program, *arguments, "-q", "--json", path)
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def check(program, graph, weight, reason, folder):
    source, out = os.path.join(folder, "source.onnx"), os.path.join(folder, "out.onnx")
    model = onnx.shape_inference.infer_shapes(helper.make_model(helper.make_graph(graph[0], "g", *graph[1:]), opset_imports=[helper.make_opsetid("", 17)], ir_version=9))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, source)
    feed = {i.name: RANDOM.standard_normal([d.dim_value for d in i.type.tensor_type.shape.dim]).astype(np.float32) for i in model.graph.input}
    expected = peer.session(source).run(None, feed)
    commands = {
        "inspect": ["inspect", source],
        "convert": ["convert", source, out],
        "prune": ["prune", source, out, "--sparsity", "0", "--block", "1x1", "--min-weights", "1"],
        "prune 50 %": ["prune", source, out, "--sparsity", "0.5", "--block", "1x1", "--min-weights", "1"],
        "dry run": ["prune", source, out, "--sparsity", "0.5", "--dry-run", "--min-weights", "1"],
    }
    for command, arguments in commands.items():
        rows = {row["weight"].split("/")[-1]: row for row in report(program, folder, *arguments)["layers"]}
        assert reason in rows[weight]["left_out"], (command, rows[weight])
        if command in ("convert", "prune"):
            assert not rows["w2"]["left_out"], (command, rows["w2"])
            assert os.path.getsize(out) < os.path.getsize(source), command
            assert peer.relative_difference(peer.session(out).run(None, feed), expected) < 1e-5, command
    masks, arrays = os.path.join(folder, "masks.npz"), os.path.join(folder, "in.npz")
    peer.espalier(program, "mask", "export", source, "-o", masks, "-q")
    peer.espalier(program, "mask", "apply", source, masks, "-o", out, "-q")
    assert peer.relative_difference(peer.session(out).run(None, feed), expected) < 1e-5
    np.savez(arrays, **feed)
    peer.espalier(program, "calibrate", source, "--inputs", arrays, "-o", os.path.join(folder, "s.safetensors"), "--min-weights", "1", "-q")


def check_nothing_stored(program, folder):
    """A model without a weight to prune is written as it is, with a warning, whatever is selected; a quantized weight is listed with the reason."""
    source, out = os.path.join(folder, "source.onnx"), os.path.join(folder, "out.onnx")
    for op, shapes in (("Conv", ([1, 8, 10], [16, 8, 3])), ("MatMul", ([2, 8], [8, 16]))):
        graph = helper.make_graph([node(op, ["x", "w"], ["y"])], "g", [value("x", shapes[0]), value("w", shapes[1])], [value("y", None)])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), source)
        for more in ([], ["--op", "MatMul"], ["--exclude", ".*"]):
            done = peer.espalier(program, "prune", source, out, "--sparsity", "0.5", *more)
            assert "no weight is selected for pruning: " in done.stderr and "an input of the model" in done.stderr, done.stderr
            peer.session(out)
    integers = numpy_helper.from_array(RANDOM.integers(-5, 5, (8, 16)).astype(np.int8), "w")
    graph = helper.make_graph([node("MatMulInteger", ["x", "w"], ["y"])], "g", [value("x", [2, 8], TensorProto.INT8)], [value("y", None, TensorProto.INT32)], [integers])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), source)
    assert "quantized" in report(program, folder, "inspect", source)["layers"][0]["left_out"]
    assert "quantized" in peer.espalier(program, "prune", source, out, "--sparsity", "0.5", expect=1).stderr


def check_old_ir(program, folder):
    """IR version 3, where each weight is an input too, and an opset that is to be raised: packed as its twin of IR version 4 is."""
    sizes = []
    for version in (3, 4):
        source, out = os.path.join(folder, "source.onnx"), os.path.join(folder, "out.onnx")
        weight = const("w", 64, 48, 1, 1)
        inputs = [value("x", [1, 48, 8, 8])] + ([value("w", [64, 48, 1, 1])] if version == 3 else [])
        nodes = [node("Pad", ["x"], ["p"], pads=[0, 0, 1, 1, 0, 0, 1, 1]), node("Conv", ["p", "w"], ["y"])]
        graph = helper.make_graph(nodes, "g", inputs, [value("y", [1, 64, 10, 10])], [weight])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=version), source)
        feed = {"x": RANDOM.standard_normal([1, 48, 8, 8]).astype(np.float32)}
        expected = peer.session(source).run(None, feed)
        peer.espalier(program, "convert", source, out, "-q", "--pack", "1x1")
        assert os.path.getsize(out) < 0.8 * os.path.getsize(source)
        assert peer.relative_difference(peer.session(out).run(None, feed), expected) < 1e-5
        sizes.append(os.path.getsize(out))
    assert abs(sizes[0] - sizes[1]) < 400, sizes


def main(program):
    for further in (check_nothing_stored, check_old_ir):
        with tempfile.TemporaryDirectory() as folder:
            further(program, folder)
    for name, (graph, weight, reason) in cases().items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                check(program, graph, weight, reason, folder)
            except Exception as error:
                raise RuntimeError(name) from error
    print("weights that are no constants: left out with the reason, everything else done")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
