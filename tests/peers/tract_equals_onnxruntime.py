#!/usr/bin/env python3
"""Runs an NNEF model in stock tract and an ONNX model in onnxruntime on the same input and compares the first outputs.

    tract_equals_onnxruntime.py MODEL.onnx MODEL.nnef.tgz INPUT.npy

Each sample (first axis) is one run with a leading axis of 1. Exit status 1 where an element differs by more than 1e-4 of the largest.
"""
import sys

import numpy as np
import onnxruntime
import tract


def main(onnx_path, nnef_path, input_path):
    samples = np.load(input_path)
    session = onnxruntime.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    runnable = tract.nnef().load(nnef_path).into_runnable()
    worst = 0.0
    for sample in samples:
        expected = session.run(None, {name: sample[None]})[0]
        found = runnable.run([sample[None]])[0].to_numpy()
        if found.shape != expected.shape:
            sys.exit(f"error: {nnef_path}: output is {found.shape}: expected {expected.shape}")
        worst = max(worst, float(np.abs(found - expected).max() / np.abs(expected).max()))
    print(f"stock tract {tract.version()} on {nnef_path} against onnxruntime {onnxruntime.__version__} on {onnx_path}:")
    print(f"largest difference over {len(samples)} samples {worst:.1e} of the largest output (expected at most 1e-4)")
    return 0 if worst <= 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
