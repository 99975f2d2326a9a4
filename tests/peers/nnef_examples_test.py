#!/usr/bin/env python3
"""Reads every NNEF file of ../shared/nnef-examples, by espalier's, tract's and Khronos' writers: espalier computes from it what stands beside the
example, and stock tract and onnxruntime compute that from what espalier writes (packed NNEF, dense NNEF, dense ONNX).

    nnef_examples_test.py ESPALIER
"""
import glob
import os
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

TOLERANCE = 1e-5
TARGETS = {"itself": [], "packed.nnef.tgz": [], "dense": ["--profile", "dense"], "dense.onnx": ["--profile", "dense"]}


def examples(root):
    """name, model, inputs, expected output of each."""
    for folder in sorted(glob.glob(root + "/sparse/*")):
        yield os.path.basename(folder), folder + "/model", [np.load(folder + "/x.npy")], np.load(folder + "/y.npy")
    exported = sorted(glob.glob(root + "/tract-exported/*/*.nnef.*")) + sorted(glob.glob(root + "/khronos-exported/*"))
    for model in exported:
        by_tract = os.path.isfile(model)
        data = os.path.dirname(model) if by_tract else os.path.join(root, "tract-exported", os.path.basename(model))
        inputs = [np.load(path) for path in sorted(glob.glob(data + "/input_*.npy"))]
        yield ("tract " if by_tract else "khronos ") + os.path.basename(model), model, inputs, np.load(glob.glob(data + "/output_*.npy")[0])


def run(path, inputs):
    if path.endswith(".onnx"):
        session = peer.session(path)
        return session.run(None, dict(zip([i.name for i in session.get_inputs()], inputs)))[0]
    import tract
    return tract.nnef().load(path).into_runnable().run(inputs)[0].to_numpy()


def run_here(program, model, inputs, folder):
    import onnx
    converted = os.path.join(folder, "names.onnx")  # for the order of the inputs
    peer.espalier(program, "convert", model, converted, "-q", "--profile", "dense")
    names = [i.name for i in onnx.load(converted).graph.input]
    data = os.path.join(folder, "inputs.npz")
    np.savez(data, **dict(zip(names, inputs)))
    peer.espalier(program, "run", model, "--inputs", data, "-o", folder, "-q")
    return np.load(glob.glob(folder + "/output_*.npy")[0])


def main(program):
    faults = count = 0
    for name, model, inputs, expected in examples(peer.need_shared("nnef-examples")):
        for target, options in TARGETS.items():
            count += 1
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, target)
                try:
                    if target == "itself":
                        found = run_here(program, model, inputs, folder)
                    else:
                        peer.espalier(program, "convert", model, path, "-q", *options)
                        found = run(path, inputs)
                    difference = peer.relative_difference([found], [expected])
                except Exception as error:  # noqa: BLE001
                    difference, text = np.inf, peer.one_line(error, 400)
                else:
                    text = f"differs by {difference:.1e}"
            if not difference <= TOLERANCE:
                faults += 1
                print(f"FAIL {name} as {target}: {text}")
    return peer.verdict(count, faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
