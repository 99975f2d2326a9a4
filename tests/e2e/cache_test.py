#!/usr/bin/env python3
"""--cache: a second run takes statistics, scores and the scan from the folder and writes the same bytes; another sparsity shares them; what is
damaged is made anew, with a warning; other inputs share nothing.    cache_test.py ESPALIER"""
import json
import os
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

MODEL = os.path.join(peer.ROOT, "testdata/bandgru/denoise.onnx")


class Runs:
    def __init__(self, program, work):
        self.program, self.work, self.cache = program, work, os.path.join(work, "made/cache")
        self.data = os.path.join(work, "calib")
        os.mkdir(self.data)
        np.save(os.path.join(self.data, "input_bands.npy"), np.random.default_rng(1).standard_normal((12, 20, 32)).astype(np.float32))

    def prune(self, *options, cache=True, data=None):
        """The bytes that were written, and what was said with -v."""
        out = os.path.join(self.work, "p.onnx")
        with_cache = ("--cache", self.cache) if cache else ()
        done = peer.espalier(self.program, "prune", MODEL, out, "--calib", data or self.data, *with_cache, *options, "--no-verify", "-v")
        with open(out, "rb") as file:
            return file.read(), done.stderr

    def files(self):
        return sorted(os.listdir(self.cache))


def used(said):
    return [line for line in said.splitlines() if line.startswith(("scores: ", "statistics of "))]


def same_bytes(runs):
    plain, _ = runs.prune("--sparsity", "0.7", cache=False)
    first, said = runs.prune("--sparsity", "0.7")
    assert not used(said), said
    files = runs.files()
    assert any(f.endswith(".statistics") for f in files) and any(f.endswith(".scores.npy") for f in files), files
    second, said = runs.prune("--sparsity", "0.7")
    assert plain == first == second, "the cache changes what is written"
    assert len(used(said)) >= 3 and not any(line.startswith("calibrate: ") for line in said.splitlines()[:3]), said
    assert runs.files() == files
    print(f"ok   the same bytes, {len(files)} files, {len(used(said))} of them used")


def other_sparsities_and_blocks(runs):
    files = runs.files()
    for options, more in ((("--sparsity", "0.5"), False), (("--sparsity", "0.5", "--block", "8x4"), True)):
        plain, _ = runs.prune(*options, cache=False)
        cached, said = runs.prune(*options)
        assert plain == cached, options
        assert used(said), said
        assert (runs.files() != files) == more, (options, set(runs.files()) - set(files))
    print("ok   another sparsity takes all, another block the statistics")


def other_inputs(runs):
    other = os.path.join(runs.work, "other")
    os.mkdir(other)
    np.save(os.path.join(other, "input_bands.npy"), np.random.default_rng(2).standard_normal((12, 20, 32)).astype(np.float32))
    _, said = runs.prune("--sparsity", "0.7", data=other)
    assert not used(said), said
    print("ok   other inputs share nothing")


def damaged(runs):
    """Each file cut, changed, empty, or in another's place."""
    runs.cache = os.path.join(runs.work, "to spoil")
    plain, _ = runs.prune("--sparsity", "0.7")
    names = runs.files()

    def spoil(how):
        for name in names:
            path = os.path.join(runs.cache, name)
            with open(path, "rb") as file:
                data = file.read()
            with open(path, "wb") as file:
                file.write(how(name, data))

    ways = {"cut": lambda _, d: d[:len(d) // 2], "empty": lambda *_: b"", "changed": lambda _, d: d[:-9] + bytes([d[-9] ^ 1]) + d[-8:],
            "keys alone": lambda n, d: b"\xff" * 3000000 if n.endswith(".key") else d,
            "nested": lambda n, d: b"espalier cache 1\n" if n.endswith(".key") else d}
    for what, how in ways.items():
        spoil(how)
        again, said = runs.prune("--sparsity", "0.7")
        assert again == plain, what
        assert not used(said) and "so it is made anew" in said, (what, said)
        again, said = runs.prune("--sparsity", "0.7")
        assert again == plain and used(said) and "anew" not in said, (what, said)
    print("ok   what is damaged is made anew")


def refusals(runs):
    said = peer.espalier(runs.program, "prune", MODEL, os.path.join(runs.work, "p.onnx"), "--cache", runs.cache, expect=2).stderr
    assert "--calib DATA is required" in said, said
    file = os.path.join(runs.work, "file")
    with open(file, "w", encoding="utf-8") as made:
        made.write("x")
    said = peer.espalier(runs.program, "prune", MODEL, os.path.join(runs.work, "p.onnx"), "--calib", runs.data, "--cache", file, expect=1).stderr
    assert said.startswith(f"error: {file}: cannot be written"), said
    print("ok   refusals")


def from_a_recipe(runs):
    recipe = os.path.join(runs.work, "r.json")
    with open(recipe, "w", encoding="utf-8") as file:
        json.dump({"sparsity": 0.7, "cache": runs.cache, "calib": runs.data}, file)
    out = os.path.join(runs.work, "r.onnx")
    done = peer.espalier(runs.program, "prune", MODEL, out, "--recipe", recipe, "--no-verify", "-v")
    assert used(done.stderr), done.stderr
    print("ok   the recipe's key")


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        runs = Runs(program, work)
        same_bytes(runs)
        from_a_recipe(runs)
        other_sparsities_and_blocks(runs)
        other_inputs(runs)
        damaged(runs)
        refusals(runs)


main()
