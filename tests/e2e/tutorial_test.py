#!/usr/bin/env python3
"""The console lines of README.md and docs/tutorial.md, typed as they are there, one after another in a shell.

    tutorial_test.py ESPALIER
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

BANDGRU = os.path.join(peer.ROOT, "testdata/bandgru")


def lines_of(page):
    with open(os.path.join(peer.ROOT, page), encoding="utf-8") as file:
        blocks = re.findall(r"^```console\n(.*?)^```", file.read(), re.S | re.M)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def run(program, page, folder):
    """One shell for all lines, as a user has one: cd stays. Which line failed is told."""
    lines = lines_of(page)
    assert len(lines) >= 5, (page, lines)
    binaries = os.path.join(folder, "bin")
    os.mkdir(binaries)
    os.symlink(program, os.path.join(binaries, "espalier"))
    with open(os.path.join(binaries, "python3"), "w", encoding="utf-8") as file:  # a link would lose the packages of a venv
        file.write(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    os.chmod(os.path.join(binaries, "python3"), 0o755)
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "ESPALIER": program}
    script = "".join(f"echo '--- {i}' >&2\n{line} || exit 1\n" for i, line in enumerate(lines))
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        at = int(re.findall(r"^--- (\d+)$", done.stderr, re.M)[-1])
        raise RuntimeError(f"{page}: {lines[at]}\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
    print(f"ok   {page}: {len(lines)} lines")


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(os.path.join(folder, "testdata"))
        shutil.copytree(BANDGRU, os.path.join(folder, "testdata/bandgru"))
        run(program, "docs/tutorial.md", folder)
        made = ("half.html", "pruned.html", "pruned.json", "grid/index.html", "grid/results.csv", "grid/picked.onnx", "grid/picked.recipe.json", "picked.nnef.tgz")
        for name in made:
            assert os.path.getsize(os.path.join(folder, "demo", name)) > 0, name
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(os.path.join(BANDGRU, "denoise.onnx"), os.path.join(folder, "model.onnx"))
        for name in ("calib", "eval"):
            shutil.copytree(os.path.join(BANDGRU, name), os.path.join(folder, name))
        peer.espalier(program, "run", os.path.join(folder, "model.onnx"), "--inputs", os.path.join(folder, "eval"), "-o", folder, "-q")
        os.rename(os.path.join(folder, "output_gains.npy"), os.path.join(folder, "labels.npy"))
        run(program, "README.md", folder)
        assert os.path.getsize(os.path.join(folder, "grid/picked.onnx")) > 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
