#!/usr/bin/env python3
"""Kills the program at many moments while it replaces a file, a pair of files and a folder: the target is the old one or the new one, whole,
and a signal that can be handled leaves nothing beside it.    kill_test.py ESPALIER"""
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROUNDS = 24


def make_model(path, width):
    values = np.random.default_rng(3).standard_normal((width, width), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "mm")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, width])], [numpy_helper.from_array(values, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def digest(path):
    """One hash over a file, or over the names and bytes of a folder's files; "" where there is nothing."""
    total = hashlib.sha256()
    if os.path.isdir(path):
        for folder, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                whole = os.path.join(folder, name)
                with open(whole, "rb") as file:
                    total.update(os.path.relpath(whole, path).encode() + b"\0" + hashlib.sha256(file.read()).digest())
    elif os.path.exists(path):
        with open(path, "rb") as file:
            total.update(file.read())
    else:
        return ""
    return total.hexdigest()


def start(program, *arguments):
    return subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main(program):
    faults, seen = [], {"old": 0, "new": 0}
    rng = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "in.onnx")
        make_model(model, 1536)
        for target in ("out.onnx", "out.nnef.tgz", "out.nnef.tar", "out_folder"):
            home = os.path.join(folder, "home_" + target)
            os.mkdir(home)
            out = os.path.join(home, target)
            command = ("prune", model, out, "--sparsity", "0.9", "--no-verify", "-q")
            began = time.monotonic()
            if start(program, *command).wait() != 0:
                sys.exit(f"FAIL {target}: the program does not even end well undisturbed")
            took = time.monotonic() - began
            new = digest(out)
            shutil.rmtree(out) if os.path.isdir(out) else os.remove(out)
            if start(program, "prune", model, out, "--sparsity", "0.5", "--no-verify", "-q").wait() != 0:
                sys.exit(f"FAIL {target}: the old file could not be made")
            old = digest(out)
            for turn in range(ROUNDS):
                how = signal.SIGKILL if turn % 2 else signal.SIGTERM
                process = start(program, *command)
                time.sleep(rng.uniform(0, 1.1 * took))
                process.send_signal(how)
                status = process.wait()
                found = digest(out)
                if found not in (old, new):
                    faults.append(f"{target}: {how.name} left {'nothing' if not found else 'something half-written'}")
                if how == signal.SIGTERM and status == -signal.SIGTERM and sorted(os.listdir(home)) != [target]:
                    faults.append(f"{target}: SIGTERM left {sorted(os.listdir(home))}")
                if status not in (0, -how):
                    faults.append(f"{target}: {how.name} ended it with {status}")
                seen["new" if found == new else "old"] += 1
                for stray in set(os.listdir(home)) - {target}:
                    path = os.path.join(home, stray)
                    shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
    for fault in faults:
        print("FAIL", fault)
    print(f"the target was the old one {seen['old']} times and the new one {seen['new']} times, never anything else" if not faults else "")
    print(f"{4 * ROUNDS - len(faults)} passed, {len(faults)} failed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
