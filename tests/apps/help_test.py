#!/usr/bin/env python3
"""Every subcommand's --help has an example, and each example runs.

  help_test.py PROGRAM
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
DEMO = os.path.abspath(os.path.join(HERE, "../../testdata/bandgru"))


def espalier(program, folder, *arguments):
    return subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)


def subcommands(text):
    part = text.split("Subcommands:\n", 1)
    return re.findall(r"^  (\w+)", part[1].split("\n\n")[0], re.M) if len(part) == 2 else []


def examples(text):
    part = text.split("Example:", 1)
    return re.findall(r"^  (espalier .*)$", part[1], re.M) if len(part) == 2 else []


def prepare(program, folder):
    """The files that the examples name."""
    shutil.copy(f"{DEMO}/trained_16x1_90.onnx", f"{folder}/model.onnx")  # whose outputs test_data_set_0 holds
    shutil.copy(f"{DEMO}/trained_16x1_90.onnx", f"{folder}/trained_sparse.onnx")
    shutil.copy(f"{DEMO}/eval/input_bands.npy", f"{folder}/input_x.npy")
    shutil.copytree(f"{DEMO}/test_data_set_0", f"{folder}/test_data_set_0")
    shutil.copytree(f"{DEMO}/calib", f"{folder}/data")
    shutil.copytree(f"{DEMO}/eval", f"{folder}/test")
    done = espalier(program, folder, "run", "model.onnx", "--inputs", "test", "-o", ".", "-q")
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    os.rename(f"{folder}/output_gains.npy", f"{folder}/labels.npy")
    for line in (["convert", "model.onnx", "packed.nnef.tgz"], ["convert", "model.onnx", "packed.onnx"],
                 ["calibrate", "model.onnx", "--inputs", "input_x.npy", "-o", "more.safetensors"],
                 ["prune", "model.onnx", "pruned.onnx"], ["mask", "export", "pruned.onnx", "-o", "masks.npz"],
                 ["mask", "export", "pruned.onnx", "-o", "a.npz"], ["mask", "export", "trained_sparse.onnx", "-o", "b.npz"]):
        done = espalier(program, folder, *line)
        if done.returncode != 0:
            raise RuntimeError(f"espalier {' '.join(line)}: {done.stderr}")


def check(program, command, text, folder):
    """Lines that say what is wrong."""
    lines = examples(text)
    if not lines:
        return [f"{command} --help has no example"]
    wrong = []
    for line in lines:
        quick = re.sub(r"^espalier (bench|sweep)", r"espalier \1 --warmup 0 --seconds 0.01", line)
        quick = quick.replace("--labels labels.npy", "--labels labels.npy --metric snr")  # the model is no classifier
        done = subprocess.run(["/bin/sh", "-c", f"espalier() {{ \"$ESPALIER\" \"$@\"; }}\n{quick}"], cwd=folder, capture_output=True, text=True,
                              timeout=300, env={**os.environ, "ESPALIER": program}, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            wrong.append(f"{line}: exit {done.returncode}: {done.stderr.strip()}")
    return wrong


def main():
    program = os.path.abspath(sys.argv[1])
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        prepare(program, folder)
        commands = [[name] for name in subcommands(espalier(program, folder, "--help").stdout)]
        if len(commands) < 8:
            wrong.append(f"--help lists only {commands}")
        while commands:
            command = commands.pop()
            text = espalier(program, folder, *command, "--help").stdout
            deeper = subcommands(text)
            commands += [[*command, name] for name in deeper]
            wrong += check(program, " ".join(command), text, folder)
            if "Exit codes:" not in text:
                wrong.append(f"{' '.join(command)} --help names no exit codes")
    print("\n".join(wrong) if wrong else "every example of --help runs")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
