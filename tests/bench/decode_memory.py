#!/usr/bin/env python3
"""Peak memory of a process that loads a packed ONNX file in stock onnxruntime, over that of the dense file: nodes of a decode that are as large as the weight
are all in memory until the last is computed. One product of each size and order of weights, written with --for onnxruntime, 90 % zeros, one thread; peaks include the interpreter. Then the
time of a call, as the file must fold all the same.

    decode_memory.py ESPALIER [--sizes 64,256] [--operators MatMul,Gemm] [--blocks 16x1,16x4] [--values f32] [--sparsity 0.9] [--most 2.1]

Ends with 1 where a peak is above --most times that of the dense file, or a call takes more than 1.5 times as long.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import decode_cases as cases  # noqa: E402
import peer  # noqa: E402

LOAD = """
import sys
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
# ru_maxrss would count what the process was before it became this program.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def model(operator, mib, path):
    """A square weight; gives its feed."""
    extent = int(round((mib * 2**18) ** 0.5))
    weight = np.random.default_rng(mib).standard_normal((extent, extent), np.float32) * np.float32(extent**-0.5)
    node = helper.make_node(operator, ["x", "w"], ["y"], **({"transB": 1} if operator == "Gemm" else {}))
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, extent])  # noqa: E731
    graph = helper.make_graph([node], operator, [value("x")], [value("y")], [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return {"x": np.random.default_rng(1).standard_normal((1, extent)).astype(np.float32)}


def peak_mib(path):
    done = subprocess.run([sys.executable, "-c", LOAD, path], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    words = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--sizes", type=lambda text: [int(i) for i in text.split(",")], default=[64, 256])
    parser.add_argument("--operators", type=words, default=["MatMul", "Gemm"])
    parser.add_argument("--blocks", type=words, default=["16x1", "8x1", "16x4", "4x8", "1x4", "1x1"])
    parser.add_argument("--values", default="f32")
    parser.add_argument("--sparsity", default="0.9")
    parser.add_argument("--most", type=float, default=2.1)
    args = parser.parse_args()
    over = 0
    print("| operator, MiB | block | dense MiB | packed MiB | ratio | ms of a call, dense | packed |\n|---|---|---|---|---|---|---|")
    for operator in args.operators:
        for mib in args.sizes:
            for block in args.blocks:
                with tempfile.TemporaryDirectory() as folder:
                    dense, pruned, packed = (os.path.join(folder, name) for name in ("dense.onnx", "pruned.onnx", "packed.onnx"))
                    feed = model(operator, mib, dense)
                    cases.pack(args.program, dense, pruned, block, args.values, False, args.sparsity)
                    peer.espalier(args.program, "convert", pruned, packed, "-q", "--no-verify", "--for", "onnxruntime")
                    before, after = peak_mib(dense), peak_mib(packed)
                    times = cases.times("onnxruntime", dense, packed, feed, folder, 0.5)
                bad = after > args.most * before or times["second_ms"] > 1.5 * times["first_ms"]
                over += bad
                print(f"| {operator}, {mib} | {block} | {before:.0f} | {after:.0f} | {after / before:.2f} | {times['first_ms']:.2f} | {times['second_ms']:.2f} |{' OVER' if bad else ''}", flush=True)
    print(f"onnxruntime {subprocess.run([sys.executable, '-c', 'import onnxruntime; print(onnxruntime.__version__)'], capture_output=True, text=True).stdout.strip()}: {over} over")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
