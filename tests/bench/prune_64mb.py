#!/usr/bin/env python3
"""How fast `prune` is where only reading, scoring, packing and writing count: one 64 MB f32 weight, l2, 16x1 at 90 %, to .onnx.

    prune_64mb.py ESPALIER [RUNS]        prints the median and the minimum of RUNS (9) whole processes, verification not included
Target: under one second on two cores. The file is in the page cache; what is written is synced to the disk by the program.
"""
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def make_model(path):
    values = np.random.default_rng(1).standard_normal((4096, 4096), np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"], "fc", transB=1)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4096])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4096])], [numpy_helper.from_array(values, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def main(program, runs="9"):
    with tempfile.TemporaryDirectory() as folder:
        model, out = os.path.join(folder, "in.onnx"), os.path.join(folder, "out.onnx")
        make_model(model)
        for sparsity in ("0.9", "0.5"):
            seconds = []
            for _ in range(int(runs)):
                began = time.perf_counter()
                subprocess.run([program, "prune", model, out, "--block", "16x1", "--method", "l2", "--sparsity", sparsity, "--no-verify", "-q"], check=True)
                seconds.append(time.perf_counter() - began)
            print(f"64 MB f32 weight, l2, 16x1 at {sparsity}: median {statistics.median(seconds):.3f} s, minimum {min(seconds):.3f} s,"
                  f" written {os.path.getsize(out)} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
