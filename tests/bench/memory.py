#!/usr/bin/env python3
"""Peak memory and speed on a model that is larger than memory needs to be: builds it, and prints for each command the peak of resident memory, mapped
pages included, and GB of weights per second. Ends with 1 if a peak is over 3 times the largest weight + 256 MiB.
80 weights of 32 MiB each if nothing else is said: 2.5 GiB. GB/s are those of the program where --folder is in memory (/dev/shm): outputs are synced.
memory.py ESPALIER [--weights N] [--mib M] [--type f32|f16|bf16] [--folder DIR] [--method M] [--keep]"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
from onnx import TensorProto, helper

TYPES = {"f32": (TensorProto.FLOAT, 4), "f16": (TensorProto.FLOAT16, 2), "bf16": (TensorProto.BFLOAT16, 2)}
SIZE = 2048  # one extent of each weight


def external(name, shape, kind, offset, length):
    tensor = TensorProto(name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "big.onnx.data"), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def weight_bytes(values, kind):
    if kind == TensorProto.FLOAT:
        return values.tobytes()
    if kind == TensorProto.FLOAT16:
        return values.astype(np.float16).tobytes()
    return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()


def build(path, count, mib, type_name):
    """Products in a row, weights stored [outputs, inputs] and [inputs, outputs] in turn, so that both folds are read."""
    kind, width = TYPES[type_name]
    wide = mib * (1 << 20) // width // SIZE
    nodes, tensors, random = [], [], np.random.default_rng(1)
    with open(path + ".data", "wb") as file:
        for i in range(count):
            up = i % 2 == 0
            inputs, outputs = (SIZE, wide) if up else (wide, SIZE)
            transposed = i % 4 < 2
            shape = (outputs, inputs) if transposed else (inputs, outputs)
            data = weight_bytes((random.standard_normal(shape, np.float32) * (1 / np.sqrt(inputs))).astype(np.float32), kind)
            tensors.append(external(f"w{i}", shape, kind, file.tell(), len(data)))
            file.write(data)
            names = [f"x{i}", f"w{i}"]
            nodes.append(helper.make_node("Gemm", names, [f"x{i + 1}"], f"layer{i}", transB=1) if transposed
                         else helper.make_node("MatMul", names, [f"x{i + 1}"], f"layer{i}"))
    last = SIZE if count % 2 == 0 else wide
    graph = helper.make_graph(nodes, "big", [helper.make_tensor_value_info("x0", kind, [1, SIZE])],
                              [helper.make_tensor_value_info(f"x{count}", kind, [1, last])], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return count * mib << 20


def run(command):
    """Seconds, and the peak of resident memory in MiB, which counts mapped pages."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: ended with {process.returncode}: {errors}")
    return time.monotonic() - began, usage.ru_maxrss / 1024


def runs_of(type_name, method, *options):
    """(what it does, arguments, what nobody reads any more after it). `options`: of commands that write models."""
    runs = [("inspect", ("inspect", "big.onnx"), ()),
            ("prune to ONNX", ("prune", "big.onnx", "pruned.onnx", "--method", method, *options), ()),
            ("prune to NNEF", ("prune", "big.onnx", "pruned_nnef", "--method", method, *options), ()),
            ("convert back, from ONNX", ("convert", "pruned.onnx", "dense.onnx", "--profile", "dense", *options), ()),
            ("convert back, from NNEF", ("convert", "pruned_nnef", "dense_too.onnx", "--profile", "dense", *options), ("dense_too.onnx", "dense_too.onnx.data", "pruned_nnef")),
            ("convert, zeros packed", ("convert", "dense.onnx", "packed.onnx", *options), ("packed.onnx", "packed.onnx.data")),
            ("mask export", ("mask", "export", "pruned.onnx", "-o", "masks.npz"), ()),
            ("mask apply", ("mask", "apply", "big.onnx", "masks.npz", "-o", "masked.onnx", *options), ("masked.onnx", "masked.onnx.data")),
            ("verify, weights", ("verify", "pruned.onnx", "dense.onnx"), ()),
            ("diff", ("diff", "big.onnx", "pruned.onnx"), ())]
    return [r for r in runs if type_name != "bf16" or "NNEF" not in r[0]]


def measure(program, total, limit, runs):
    """Prints a line for each command, run in this folder; how many peaks are over `limit` MiB."""
    print(f"{'command':26} {'seconds':>8} {'GB/s':>6} {'peak MiB':>9}", flush=True)
    over = 0
    for name, command, unused in runs:
        seconds, peak = run([program, *command, "-q"])
        over += peak > limit
        print(f"{name:26} {seconds:8.2f} {total / 1e9 / seconds:6.2f} {peak:9.0f}{'  OVER' if peak > limit else ''}", flush=True)
        for used in filter(os.path.exists, unused):
            shutil.rmtree(used) if os.path.isdir(used) else os.remove(used)
    return over


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--weights", type=int, default=80)
    parser.add_argument("--mib", type=int, default=32)
    parser.add_argument("--type", choices=TYPES, default="f32")
    parser.add_argument("--method", default="l2")
    parser.add_argument("--folder", default=None)
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    program, limit = os.path.abspath(args.program), 3 * args.mib + 256
    folder = tempfile.mkdtemp(prefix="espalier_memory_", dir=args.folder)
    os.chdir(folder)
    try:
        total = build("big.onnx", args.weights, args.mib, args.type)
        print(f"{args.weights} weights of {args.mib} MiB, {args.type}: {total / 2**30:.2f} GiB; a peak may be {limit} MiB", flush=True)
        return 1 if measure(program, total, limit, runs_of(args.type, args.method)) else 0
    finally:
        os.chdir("/")
        if not args.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
