#!/usr/bin/env python3
"""Runs the hostile files of ../shared/hostile over the program: every one gets the right verdict, one line and no file left behind."""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

runner = peer.need_shared("hostile", "run_hostile.py")
# 256 MiB a file for every build: a sanitizer maps terabytes of shadow memory, and keeps freed blocks for as long as it is told to, but that is not
# the program's. A file takes less than 2 s on an idle machine; prune measures speed for some of them, and other tests run beside this one.
program = os.path.abspath(sys.argv[1])
bounds = ["--max-seconds", os.environ.get("ESPALIER_HOSTILE_SECONDS", "8"), "--max-rss", "256"]
with tempfile.TemporaryDirectory() as folder:
    tool = program
    if b"__asan_init" in open(program, "rb").read():
        tool = os.path.join(folder, "espalier")
        with open(tool, "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexport ASAN_OPTIONS="$ASAN_OPTIONS:quarantine_size_mb=8"\nexec "{program}" "$@"\n')
        os.chmod(tool, 0o755)
        bounds += ["--address-space", "0"]
    # The corpus's models are small: without --min-weights 1 prune would select nothing in them.
    prune = "{tool} prune {file} --sparsity 0.5 --min-weights 1 -o {out}"
    done = subprocess.run([sys.executable, runner, tool, "--strict", "--reject-code", "1", "--pack", "{tool} convert {model} -o {out}", *bounds,
                           "--cmd", f"onnx.prune={prune}", "--cmd", f"nnef.prune={prune}",
                           "--cmd", "json.prune={tool} prune {model} --recipe {file} --min-weights 1 -o {out}"], capture_output=True, text=True)
print(done.stdout + done.stderr)
# Valid models in which nothing can be pruned, which the corpus expects to be written: by the contract of the command line that is exit status 1.
NOTHING_TO_PRUNE = ("ok_double [prune]", "ok_identity [prune]", "long_chain [prune]")
faults = [line for line in done.stdout.splitlines() if line.startswith("FAIL ")]
faults = [line for line in faults if not (line[5:].startswith(NOTHING_TO_PRUNE) and "no weight is selected for pruning" in line)]
finished = "passed, " in done.stdout and done.returncode in (0, 1)
print(f"{len(faults)} faults beside models in which nothing can be pruned")
sys.exit(0 if finished and not faults else 1)
