#!/usr/bin/env python3
"""Memory does not grow with the model: the commands of tests/bench/memory.py on 320 MiB of weights of 8 MiB each, and their peaks of resident memory,
mapped pages included; nothing is run.    memory_test.py ESPALIER"""
import os
import sys
import tempfile

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "../bench"))
import memory  # noqa: E402

COUNT, MIB = 40, 8
PEAK = 3 * MIB + 128  # the program itself takes about 70
program = os.path.abspath(sys.argv[1])
over = 0
for type_name in ("f32", "f16"):
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        total = memory.build("big.onnx", COUNT, MIB, type_name)
        over += memory.measure(program, total, PEAK, memory.runs_of(type_name, "l2", "--memory", "1MB"))
        os.chdir("/")
sys.exit(1 if over else 0)
