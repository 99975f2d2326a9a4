#!/usr/bin/env python3
"""Ctrl-C ends the program as SIGINT does, says so in one line, and leaves no file.

  interrupt_test.py PROGRAM
"""
import os
import signal
import subprocess
import sys
import tempfile
import time

MODEL = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../testdata/bandgru/denoise.onnx"))


def catches_interrupts(pid):
    """Whether the program has come so far that it has a handler."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        caught = next(line.split()[1] for line in file if line.startswith("SigCgt:"))
    return int(caught, 16) >> (signal.SIGINT - 1) & 1 == 1


def interrupted(program, folder, *arguments):
    process = subprocess.Popen([program, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(1000):
        if catches_interrupts(process.pid):
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    return process.returncode, error


def main():
    program = os.path.abspath(sys.argv[1])
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for arguments in (["bench", MODEL, "--seconds", "600"], ["prune", MODEL, "out.onnx", "--metric-cmd", "sleep 600; echo 1 # {model}"]):
            status, error = interrupted(program, folder, *arguments)
            if status != -signal.SIGINT or error != "interrupted\n":
                wrong.append(f"{arguments[0]}: status {status}, stderr '{error}'")
        if os.listdir(folder):
            wrong.append(f"left behind: {os.listdir(folder)}")
    print("\n".join(wrong) if wrong else "interrupted runs say so and leave nothing")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
