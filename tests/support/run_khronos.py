#!/usr/bin/env python3
"""Runs an NNEF model in the Session of the Khronos package, which may end the process.

    run_khronos.py MODEL INPUTS.npz OUTPUTS.npz [LOWERED...]

Both files hold arrays called 0, 1, ... in the model's order; LOWERED are operators that are run by their bodies.
"""
import sys

import nnef
import numpy as np


def main(model, inputs, outputs, lowered):
    given = np.load(inputs)
    with nnef.Session(model, stdlib="", lowered=list(lowered)) as session:
        found = session(*[given[str(i)] for i in range(len(given.files))])
    np.savez(outputs, **{str(i): value for i, value in enumerate(found)})


if __name__ == "__main__":
    try:
        main(*sys.argv[1:4], sys.argv[4:])
    except Exception as error:  # noqa: BLE001
        sys.exit(" ".join(str(error).split())[-700:])
