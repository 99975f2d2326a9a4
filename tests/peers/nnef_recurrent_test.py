#!/usr/bin/env python3
"""GRU, LSTM and RNN written to NNEF are read back as the operator that they were, whatever their activations and GRU's linear_before_reset: run as onnxruntime runs the ONNX file,
pruned and packed, and run by stock tract.

  nnef_recurrent_test.py ESPALIER
"""
import itertools
import json
import os
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

TOLERANCE = 2e-5
HIDDEN, INPUTS, STEPS, BATCH = 32, 24, 5, 2
RANDOM = np.random.default_rng(3)
ACTIVATIONS = {"GRU": [None, ["Sigmoid", "Relu"], ["Tanh", "Sigmoid"], ["Relu", "Relu"]],
               "LSTM": [None, ["Sigmoid", "Relu", "Relu"], ["Tanh", "Tanh", "Sigmoid"]],
               "RNN": [None, ["Relu"], ["Sigmoid"]]}


def floats(*shape):
    return (RANDOM.standard_normal(shape) * 0.3).astype(np.float32)


def model_of(op, activations, direction, bias, reset_after):
    gates, both = {"GRU": 3, "LSTM": 4, "RNN": 1}[op], 2 if direction == "bidirectional" else 1
    weights = {"W": floats(both, gates * HIDDEN, INPUTS), "R": floats(both, gates * HIDDEN, HIDDEN)}
    if bias:
        weights["B"] = floats(both, 2 * gates * HIDDEN)
    more = {"activations": activations * both} if activations else {}
    if reset_after:
        more["linear_before_reset"] = 1
    node = helper.make_node(op, ["x", *weights], ["y", "last"], hidden_size=HIDDEN, direction=direction, **more)
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [STEPS, both, BATCH, HIDDEN]), helper.make_tensor_value_info("last", TensorProto.FLOAT, [both, BATCH, HIDDEN])]
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [STEPS, BATCH, INPUTS])], outputs,
                              [numpy_helper.from_array(value, name) for name, value in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def check(program, case, folder):
    """What is wrong with a case, or nothing."""
    op, activations, direction, bias, reset_after = case
    path, nnef, pruned, found = (os.path.join(folder, name) for name in ("m.onnx", "m.nnef.tgz", "p.nnef.tgz", "r.json"))
    onnx.save(model_of(*case), path)
    feed = {"x": floats(STEPS, BATCH, INPUTS)}
    inputs, out = os.path.join(folder, "inputs.npz"), os.path.join(folder, "out")
    np.savez(inputs, **feed)
    expected = peer.session(path).run(None, feed)

    def ours(model):
        peer.espalier(program, "run", model, "--inputs", inputs, "-o", out, "-q")
        return [np.load(os.path.join(out, f"output_{name}.npy")) for name in ("y", "last")]

    peer.espalier(program, "convert", path, nnef, "-q")
    if not peer.relative_difference(ours(nnef), expected) <= TOLERANCE:
        return "run of the NNEF file differs"
    peer.espalier(program, "prune", nnef, pruned, "--method", "l2", "--sparsity", "0.5", "--block", "16x1", "--min-weights", "1", "-q", "--json", found)
    with open(found, encoding="utf-8") as file:
        layers = [layer["operator"] for layer in json.load(file)["layers"] if not layer["left_out"]]
    if layers != [op] * (4 if direction == "bidirectional" else 2):
        return f"layers are {layers}"
    difference = peer.relative_difference(peer.tract_outputs("", pruned, [feed])[0], ours(pruned))
    return None if difference <= TOLERANCE else f"tract and espalier differ by {difference:.1e} on the pruned file"


def main(program):
    cases = []
    for op, several in ACTIVATIONS.items():
        ways = itertools.product(several, ["forward", "reverse", "bidirectional"], [False, True], [False, True] if op == "GRU" else [False])
        cases += [(op, *way) for way in ways]
    faults = 0
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            try:
                wrong = check(program, case, folder)
            except Exception as error:  # noqa: BLE001
                wrong = peer.one_line(error, 300)
        if wrong:
            print(f"FAIL {case}: {wrong}", flush=True)
        faults += bool(wrong)
    return peer.verdict(len(cases), faults)


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1])))
