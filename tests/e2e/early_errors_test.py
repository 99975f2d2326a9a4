#!/usr/bin/env python3
"""What is wrong with a command line that names a model of 100 MB is reported in half a second, whatever is wrong.

  early_errors_test.py PROGRAM
"""
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

LIMIT = 0.5  # seconds, of the fastest of three runs: the machine may do other things
ROWS, COLUMNS, LAYERS = 2048, 1600, 8  # of f32: 105 MB


def large_model(path):
    import numpy
    from onnx import TensorProto, helper, numpy_helper, save
    weights, nodes, value = [], [], "x"
    for i in range(LAYERS):
        shape = (ROWS, COLUMNS) if i % 2 == 0 else (COLUMNS, ROWS)
        weights.append(numpy_helper.from_array(numpy.full(shape, 0.5, numpy.float32), f"w{i}"))
        nodes.append(helper.make_node("MatMul", [value, f"w{i}"], [f"y{i}"]))
        value = f"y{i}"
    shape = (1, ROWS if LAYERS % 2 == 0 else COLUMNS)
    graph = helper.make_graph(nodes, "large", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, ROWS))],
                              [helper.make_tensor_value_info(value, TensorProto.FLOAT, shape)], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def main(program):
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        model, out = os.path.join(folder, "large.onnx"), os.path.join(folder, "out.onnx")
        large_model(model)
        for expect, *arguments in ((1, "--eval", "missing.npy", "--labels", "missing.npy"), (1, "--calib", "missing"), (1, "--mask-in", "missing.npz"),
                                   (1, "--json", "missing/report.json"), (2, "--exclude", "^v0"), (2, "--sparsty", "0.5")):
            seconds = []
            for _ in range(3):
                begin = time.perf_counter()
                peer.espalier(program, "prune", model, out, *arguments, expect=expect)
                seconds.append(time.perf_counter() - begin)
            print(f"{' '.join(arguments)}: {min(seconds):.3f} s")
            if min(seconds) > LIMIT:
                wrong.append(f"{' '.join(arguments)} takes {min(seconds):.2f} s")
        if os.path.exists(out):
            wrong.append("OUT was written")
    print("\n".join(wrong) if wrong else f"all reported within {LIMIT} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
