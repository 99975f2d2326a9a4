#!/usr/bin/env python3
"""Packed one-dimensional convolutions, also spelled as images of one column, against onnxruntime: strides, dilations, pads, groups, batches.

    packed_conv_test.py ESPALIER
"""
import itertools
import os
import sys
import tempfile

import numpy as np
import onnx
from onnx import helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

TOLERANCE = 1e-5


def model(random, column, stride, dilation, pads, group, batch):
    shape, filters = [batch, 16, 37], (32, 16 // group, 5)
    attributes = dict(strides=[stride], dilations=[dilation], pads=list(pads), group=group)
    if column:
        shape, filters = [*shape, 1], (*filters, 1)
        attributes |= dict(strides=[stride, 2], dilations=[dilation, 3], pads=[pads[0], 0, pads[1], 0])
    weight = numpy_helper.from_array(random.standard_normal(filters).astype(np.float32), "w")
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"], **attributes)], "conv", [helper.make_tensor_value_info("x", 1, shape)],
                              [helper.make_tensor_value_info("y", 1, None)], [weight])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made), random.standard_normal(shape).astype(np.float32)


def difference(program, case, random, folder):
    dense, packed, data = (os.path.join(folder, name) for name in ("dense.onnx", "packed.onnx", "x.npz"))
    made, x = model(random, *case)
    onnx.save(made, dense)
    np.savez(data, x=x)
    peer.espalier(program, "prune", dense, packed, "--method", "l2", "--block", "16x1", "--sparsity", "0.8", "--min-weights", "1", "--no-verify", "-q")
    if "ScatterND" not in [node.op_type for node in onnx.load(packed).graph.node]:
        raise RuntimeError("the filter is not packed")
    peer.espalier(program, "run", packed, "--inputs", data, "-o", folder, "-q")
    return peer.relative_difference([np.load(os.path.join(folder, "output_y.npy"))], peer.session(packed).run(None, {"x": x}))


def main(program):
    random = np.random.default_rng(5)
    faults = count = 0
    for case in itertools.product([False, True], [1, 2, 3], [1, 2], [(0, 0), (2, 1), (0, 3)], [1, 2], [1, 3]):
        count += 1
        with tempfile.TemporaryDirectory() as folder:
            found = difference(program, case, random, folder)
        if not found <= TOLERANCE:
            faults += 1
            print(f"FAIL column, stride, dilation, pads, group, batch {case}: differs by {found:.1e}")
    return peer.verdict(count, faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
