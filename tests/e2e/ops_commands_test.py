#!/usr/bin/env python3
"""Every command on every model of testdata/ops, its weights as inputs and as constants: done, or refused in one line; never an abort.

  ops_commands_test.py PROGRAM [--all] [OPERATOR...]

By default each model meets some of the commands, others than its neighbours, so that each operator meets all; --all runs all on all (half an hour).
"""
import concurrent.futures
import glob
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

DONE, REFUSED, USAGE, OUT_OF_TOLERANCE = 0, 1, 2, 3
PER_MODEL = 2
# OUT is a file in the folder of the run; MACHINE is what `bench --kernels` measured before.
PRUNE = ["--block", "4x1", "--min-weights", "1"]
COMMANDS = {
    "inspect": [["inspect", "MODEL"]],
    "run": [["run", "MODEL", "--inputs", "DATA", "-o", "OUT"]],
    "prune l2": [["prune", "MODEL", "OUT.onnx", "--method", "l2", "--sparsity", "0.5", *PRUNE], ["inspect", "OUT.onnx"]],
    "prune --calib": [["prune", "MODEL", "OUT.onnx", "--calib", "DATA", "--sparsity", "0.5", *PRUNE]],
    "convert": [["convert", "MODEL", "OUT.onnx"]],
    "to NNEF and back": [["convert", "MODEL", "OUT.nnef"], ["convert", "OUT.nnef", "BACK.onnx"]],
    "prune to NNEF": [["prune", "MODEL", "OUT.nnef.tgz", "--method", "l2", "--sparsity", "0.5", *PRUNE], ["inspect", "OUT.nnef.tgz"]],
    "calibrate": [["calibrate", "MODEL", "--inputs", "DATA", "-o", "OUT.safetensors", "--min-weights", "1"],
                  ["prune", "MODEL", "OUT.onnx", "--calib", "OUT.safetensors", "--sparsity", "0.5", *PRUNE]],
    "mask": [["mask", "export", "MODEL", "-o", "OUT.npz"], ["mask", "apply", "MODEL", "OUT.npz", "-o", "OUT.onnx"]],
    "advise": [["advise", "MODEL", "--block", "16x1", "--machine", "MACHINE"]],
}


def with_constants(path, out, folder):
    """The model with the data of all inputs but the first as initializers; the data of the first."""
    model = onnx.load(path)
    arrays = np.load(path[:-5] + ".npz")
    names = [i.name for i in model.graph.input]
    kept = {}
    for i, name in enumerate(names):
        if name not in arrays.files:
            return None
        if i == 0:
            kept[name] = arrays[name]
        else:
            model.graph.initializer.append(numpy_helper.from_array(arrays[name], name))
    del model.graph.input[1:]
    onnx.save(model, out)
    return write_set(kept, names, folder)


def write_set(arrays, names, folder):
    os.makedirs(folder)
    for i, name in enumerate(n for n in names if n in arrays):
        with open(os.path.join(folder, f"input_{i}.pb"), "wb") as file:
            file.write(numpy_helper.from_array(arrays[name], name).SerializeToString())
    return folder


def variants(path, folder):
    """(what, model, data) of the model as it is, and with constants where it has more than one input."""
    arrays, names = np.load(path[:-5] + ".npz"), [i.name for i in onnx.load(path).graph.input]
    yield "inputs", path, write_set({n: arrays[n] for n in names if n in arrays.files}, names, os.path.join(folder, "inputs"))
    constants = os.path.join(folder, "constants.onnx")
    if len(names) > 1 and (data := with_constants(path, constants, os.path.join(folder, "constants"))):
        yield "constants", constants, data


def fault_of(program, arguments):
    """What is wrong with how the program ended, or nothing; whether it did what it was asked."""
    done = subprocess.run([program, *arguments, "-q"], capture_output=True, text=True, errors="replace", timeout=120)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    told = " ".join(arguments) + f": exit {done.returncode}: {done.stderr.strip()[-400:]}"
    if done.returncode not in (DONE, REFUSED) or "bug in espalier" in done.stderr:
        return told, False
    if done.returncode == REFUSED and len(lines) != 1:
        return told, False
    return None, done.returncode == DONE


def run_commands(program, what, words, commands, folder):
    """Faults, and the number of commands that were done and refused."""
    faults, counts = [], [0, 0]
    for name in commands:
        with tempfile.TemporaryDirectory(dir=folder) as own:
            for line in COMMANDS[name]:
                line = [words.get(word, os.path.join(own, word) if word.startswith(("OUT", "BACK")) else word) for word in line]
                fault, done = fault_of(program, line)
                counts[0 if done else 1] += 1
                faults += [f"{what}: {fault}"] if fault else []
                if not done:
                    break
    return faults, counts


def check(program, machine, index, path, every):
    names, faults, counts = list(COMMANDS), [], np.zeros(2, int)
    with tempfile.TemporaryDirectory() as folder:
        for place, (what, model, data) in enumerate(variants(path, folder)):
            first = PER_MODEL * (2 * index + place)
            chosen = names if every else [names[(first + i) % len(names)] for i in range(PER_MODEL)]
            found, count = run_commands(program, f"{os.path.relpath(path, peer.ROOT)}, {what}", {"MODEL": model, "DATA": data, "MACHINE": machine}, chosen, folder)
            faults, counts = faults + found, counts + count
    return faults, counts


def main(program, every, operators):
    paths = sorted(glob.glob(os.path.join(peer.ROOT, "testdata/ops", "*", "*.onnx")))
    if operators:
        paths = [path for path in paths if os.path.basename(os.path.dirname(path)) in operators]
    faults, counts = [], np.zeros(2, int)
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        machine = os.path.join(folder, "machine.json")
        peer.espalier(program, "bench", "--kernels", "--shape", "16x16", "--n", "1", "--block", "16x1", "--sparsity", "0.5", "--seconds", "0.01", "--json", machine, "-q")
        for found, count in pool.map(lambda task: check(program, machine, *task, every), enumerate(paths)):
            faults, counts = faults + found, counts + count
    print("\n".join(f"FAIL {fault}" for fault in faults[:40]))
    print(f"{len(paths)} models, {counts[0]} lines done, {counts[1]} refused")
    if not counts[0]:
        faults.append("nothing was done")
    return peer.verdict(int(counts.sum()), len(faults))


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(os.path.abspath(given[0]), "--all" in given, [a for a in given[1:] if a != "--all"]))
