#!/usr/bin/env python3
"""Runs an NNEF or ONNX model in the tract that Python finds: 0.21 to 0.23.

    run_tract.py MODEL INPUTS.npz OUTPUTS.npz

INPUTS holds FEED_INPUT for each feed and input, counted from 0 in the model's order; OUTPUTS gets FEED_OUTPUT. Prints tract's version.
"""
import sys

import numpy as np
import tract


def load(path):
    if path.endswith(".onnx"):
        model = tract.onnx().load(path) if hasattr(tract.onnx(), "load") else tract.onnx().model_for_path(path)
        return model.into_model().into_runnable() if hasattr(model, "into_model") else model.into_optimized().into_runnable()
    nnef = tract.nnef()
    if hasattr(nnef, "load"):
        return nnef.load(path).into_runnable()
    return nnef.with_tract_core().model_for_path(path).into_optimized().into_runnable()


def main(model, inputs, outputs):
    runnable, given, found = load(model), np.load(inputs), {}
    feed = 0
    while f"{feed}_0" in given:
        values = []
        while f"{feed}_{len(values)}" in given:
            values.append(np.ascontiguousarray(given[f"{feed}_{len(values)}"]))
        for place, output in enumerate(runnable.run(values)):
            found[f"{feed}_{place}"] = output.to_numpy()
        feed += 1
    np.savez(outputs, **found)
    print(tract.version() if hasattr(tract, "version") else "")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:  # noqa: BLE001
        sys.exit(" ".join(str(error).split("Stack backtrace")[0].split())[-700:])
