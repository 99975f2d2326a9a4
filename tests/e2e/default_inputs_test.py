#!/usr/bin/env python3
"""Inputs that have a default, an initializer of the same name: they are fed by DATA, --state and --fill or left out, as in onnxruntime, are no weights to any
command, stay inputs in ONNX and become externals in NNEF. Files that list their parameters among the inputs, as IR version 3 must, are read as ever.

  default_inputs_test.py PROGRAM
"""
import json
import os
import sys
import tarfile
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

RANDOM = np.random.default_rng(3)
STEPS, INPUTS, HIDDEN = 5, 16, 32
node = helper.make_node


def value(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def const(name, *shape):
    return numpy_helper.from_array((0.4 * RANDOM.standard_normal(shape)).astype(np.float32), name)


def step_model(path, listed=("h",), ir_version=8, opset=17):
    """h is a state: what multiplies it from the right is a weight, it is none itself. `listed` are initializers among the inputs."""
    weights = {i.name: i for i in (const("w", INPUTS, HIDDEN), const("r", HIDDEN, HIDDEN), const("b", HIDDEN), const("h", 1, HIDDEN))}
    nodes = [node("MatMul", ["x", "w"], ["xw"]), node("MatMul", ["h", "r"], ["hr"]), node("Add", ["xw", "hr"], ["s"]), node("Add", ["s", "b"], ["sb"]),
             node("Tanh", ["sb"], ["h.next"])]
    inputs = [value("x", 1, INPUTS)] + [value(name, *weights[name].dims) for name in listed]
    graph = helper.make_graph(nodes, "g", inputs, [value("h.next", 1, HIDDEN)], list(weights.values()))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return {name: numpy_helper.to_array(tensor) for name, tensor in weights.items()}


def outputs(program, model, folder, *arguments):
    peer.espalier(program, "run", model, "-o", folder, "-q", *arguments)
    [name] = [n for n in os.listdir(folder) if n.startswith("output_")]
    return np.load(os.path.join(folder, name))


def equal(found, expected, what):
    assert peer.relative_difference([found], [expected]) < 1e-5, what


def report(program, *arguments):
    return json.loads(peer.espalier(program, *arguments, "-q", "--json", "-").stdout)


def sequence(weights, xs, h):
    result = []
    for x in xs:
        h = np.tanh(x @ weights["w"] + h @ weights["r"] + weights["b"])
        result.append(h)
    return np.stack(result)


def check_runs(program, folder):
    model, out = os.path.join(folder, "m.onnx"), os.path.join(folder, "out")
    weights = step_model(model)
    xs, hs = RANDOM.standard_normal((STEPS, 1, INPUTS)).astype(np.float32), RANDOM.standard_normal((STEPS, 1, HIDDEN)).astype(np.float32)
    x, both, states = (os.path.join(folder, name) for name in ("input_x.npy", "both.npz", "states.npz"))
    np.save(x, xs)
    np.savez(both, x=xs, h=hs)
    np.savez(states, x=xs)
    session = peer.session(model)
    alone = np.stack([session.run(None, {"x": i})[0] for i in xs])
    fed = np.stack([session.run(None, {"x": i, "h": j})[0] for i, j in zip(xs, hs)])
    equal(outputs(program, model, out, "--inputs", x), alone, "left out")
    equal(outputs(program, model, out, "--inputs", both), fed, "fed")
    equal(outputs(program, model, out, "--inputs", states, "--state", "h=h.next"), sequence(weights, xs, weights["h"]), "a state starts at its default")
    equal(outputs(program, model, out, "--inputs", x, "--fill", "h=0"), np.tanh(xs @ weights["w"] + weights["b"]), "filled")
    error = peer.espalier(program, "run", model, "-o", out, "--inputs", x, "--state", "g=h.next", expect=2).stderr
    assert "has no input 'g'; it has x, h" in error, error
    return model, weights, xs, hs, both, fed


def check_written(program, folder):
    """Pruned, as ONNX and as NNEF: h is an input of both, and what is computed is equal, with and without it."""
    model, weights, xs, hs, both, fed = check_runs(program, folder)
    out, statistics = os.path.join(folder, "out"), os.path.join(folder, "s.safetensors")
    assert [i["name"] for i in report(program, "inspect", model)["inputs"]] == ["x", "h"]
    peer.espalier(program, "calibrate", model, "--inputs", both, "-o", statistics, "--min-weights", "1", "-q")
    for arguments in (["--method", "l2"], ["--calib", statistics], ["--calib", both]):
        pruned, nnef = os.path.join(folder, "pruned.onnx"), os.path.join(folder, "pruned.nnef.tgz")
        rows = report(program, "prune", model, pruned, "--sparsity", "0.75", "--block", "16x1", "--min-weights", "1", *arguments)["layers"]
        assert [(row["weight"], bool(row["left_out"])) for row in rows] == [("w", False), ("r", False)], rows
        graph = onnx.load(pruned).graph
        assert "h" in [i.name for i in graph.input] and "h" in [i.name for i in graph.initializer]
        session = peer.session(pruned)
        expected = np.stack([session.run(None, {"x": i, "h": j})[0] for i, j in zip(xs, hs)])
        equal(outputs(program, pruned, out, "--inputs", both), expected, "pruned, fed")
        alone = np.stack([session.run(None, {"x": i})[0] for i in xs])
        equal(outputs(program, pruned, out, "--inputs", os.path.join(folder, "input_x.npy")), alone, "pruned, left out")
        done = peer.espalier(program, "convert", pruned, nnef)
        assert "inputs that are optional in the model and must be fed in a file of format nnef: h" in " ".join(done.stdout.split()), done.stdout
        with tarfile.open(nnef) as archive:
            text = archive.extractfile([m for m in archive.getmembers() if m.name.endswith("graph.nnef")][0]).read().decode()
            assert "h = external" in text and not any(m.name.endswith("h.dat") for m in archive.getmembers()), text
        found = peer.tract_outputs("", nnef, [{"x": i, "h": j} for i, j in zip(xs, hs)])
        equal(np.stack([i[0] for i in found]), expected, "tract")
        peer.espalier(program, "verify", pruned, nnef, "--inputs", both, "-q")
        peer.espalier(program, "verify", pruned, nnef, "--inputs", os.path.join(folder, "states.npz"), "--state", "h=h.next", "-q")
        peer.espalier(program, "verify", pruned, nnef, "--inputs", os.path.join(folder, "states.npz"), "-q")  # the default, for NNEF too
        peer.espalier(program, "verify", nnef, pruned, "--inputs", both, "-q")
        missing = peer.espalier(program, "run", nnef, "-o", out, "--inputs", os.path.join(folder, "states.npz"), expect=2).stderr
        assert "input 'h' is not given" in missing, missing


def check_opset(program, folder):
    """A model whose opset is raised keeps its optional input."""
    model, pruned = os.path.join(folder, "old.onnx"), os.path.join(folder, "old_pruned.onnx")
    step_model(model, ir_version=4, opset=9)
    peer.espalier(program, "prune", model, pruned, "--sparsity", "0.75", "--block", "16x1", "--min-weights", "1", "-q")
    graph = onnx.load(pruned).graph
    assert [i.name for i in graph.input] == ["x", "h"] and "h" in [i.name for i in graph.initializer]
    assert os.path.getsize(pruned) < os.path.getsize(model)


def check_listed_parameters(program, folder):
    """Parameters among the inputs: constants in NNEF, packed in ONNX, fed as onnxruntime takes them where they are defaults (from IR version 4 on)."""
    for ir_version in (3, 8):
        model, same, pruned, nnef = (os.path.join(folder, name) for name in ("listed.onnx", "same.onnx", "listed_pruned.onnx", "listed.nnef"))
        listed = ("w", "h", "b", "r")
        step_model(model, listed, ir_version, opset=17 if ir_version == 8 else 7)
        assert [i["name"] for i in report(program, "inspect", model)["inputs"]] == ["x"]
        peer.espalier(program, "convert", model, same, "-q", "--profile", "dense")
        graph = onnx.load(same).graph
        assert [i.name for i in graph.input] == ["x", *listed] and onnx.load(same) == onnx.load(model)
        peer.espalier(program, "prune", model, pruned, "--sparsity", "0.75", "--block", "16x1", "--min-weights", "1", "-q")
        x = RANDOM.standard_normal((1, INPUTS)).astype(np.float32)
        np.save(os.path.join(folder, "input_x.npy"), x)
        equal(outputs(program, pruned, os.path.join(folder, "out"), "--inputs", os.path.join(folder, "input_x.npy")), peer.session(pruned).run(None, {"x": x})[0], ir_version)
        peer.espalier(program, "convert", pruned, nnef, "-q")
        with open(os.path.join(nnef, "graph.nnef"), encoding="utf-8") as file:
            assert file.read().count("external") == 1
    weights = step_model(model, listed, 8)
    weights["b"] = weights["b"] + 1
    np.savez(os.path.join(folder, "b.npz"), x=x[None], b=weights["b"][None])
    expected = peer.session(model).run(None, {"x": x, "b": weights["b"]})[0]
    equal(outputs(program, model, os.path.join(folder, "out"), "--inputs", os.path.join(folder, "b.npz"))[0], expected, "a listed parameter")


def main(program):
    for check in (check_written, check_opset, check_listed_parameters):
        with tempfile.TemporaryDirectory() as folder:
            check(program, folder)
    print("inputs with a default: fed or left out, kept as inputs in every format; listed parameters are constants")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
