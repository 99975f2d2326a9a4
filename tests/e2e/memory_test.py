#!/usr/bin/env python3
"""Memory does not grow with the model: the commands of tests/bench/memory.py on weights of 8 MiB each, 320 MiB of them, and those of NNEF on weights of
2 MiB too; their peaks of resident memory, mapped pages included; nothing is run.    memory_test.py ESPALIER"""
import os
import sys
import tempfile

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "../bench"))
import memory  # noqa: E402

program = os.path.abspath(sys.argv[1])


def over(type_name, count, mib, is_measured):
    """How many of the commands take more than three times the largest weight and 128 MiB; the program itself takes about 70."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        total = memory.build("big.onnx", count, mib, type_name)
        runs = [r for r in memory.runs_of(type_name, "l2", "--memory", "1MB") if is_measured(r[0])]
        result = memory.measure(program, total, 3 * mib + 128, runs)
        os.chdir("/")
        return result


faults = 0
for kind in ("f32", "f16"):
    # In NNEF weights of 8 MiB are written in strips, those of 2 MiB are not.
    faults += over(kind, 40, 8, lambda name: True)
    faults += over(kind, 80, 2, lambda name: "NNEF" in name)
sys.exit(1 if faults else 0)
