#!/usr/bin/env python3
"""sweep: killed at random moments and resumed, and made in three shards and merged, it gives the same points and the same files as a run that
nothing disturbed; the point that --pick takes is what prune and verify give; what is wrong is told before any work.

    sweep_test.py ESPALIER [--large]    $SWEEP_KILLS: how often the run is killed (6)

--large: 60 points, obs among the methods, and all clips; about ten minutes on two cores.
"""
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

BANDGRU = os.path.join(peer.ROOT, "testdata/bandgru")
MODEL = os.path.join(BANDGRU, "denoise.onnx")
KILLS = int(os.environ.get("SWEEP_KILLS", "6"))
TIMES = ("median_ms", "speedup", "pareto")


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def results(folder):
    with open(os.path.join(folder, "results.json"), encoding="utf-8") as file:
        return json.load(file)


def points(folder):
    return [{k: v for k, v in p.items() if k not in TIMES} for p in results(folder)["points"]]


def models(folder):
    return {n: sha256(os.path.join(folder, n)) for n in sorted(os.listdir(folder)) if n.endswith((".onnx", ".tgz"))}


def assert_equal(a, b):
    assert points(a) == points(b), [(x, y) for x, y in zip(points(a), points(b)) if x != y][:3]
    assert models(a) == models(b)
    for key in ("model", "metric_name", "int8", "dense"):
        x, y = results(a)[key], results(b)[key]
        if isinstance(x, dict):
            x, y = ({k: v for k, v in r.items() if k != "median_ms"} for r in (x, y))
        assert x == y, (key, x, y)


class Sweep:
    def __init__(self, program, work, large):
        self.program, self.work = program, work
        peer.espalier(program, "run", MODEL, "--inputs", os.path.join(BANDGRU, "eval/input_bands.npy"), "-o", work, "-q")
        self.labels = os.path.join(work, "output_gains.npy")
        labels = np.load(self.labels)
        self.eval = os.path.join(work, "eval.npy")
        clips = len(labels) if large else 2
        np.save(self.eval, np.load(os.path.join(BANDGRU, "eval/input_bands.npy"))[:clips])
        np.save(self.labels, labels[:clips] + np.random.default_rng(0).normal(0, 0.02, labels[:clips].shape).astype(np.float32))
        self.data = ["--calib", os.path.join(BANDGRU, "calib"), "--eval", self.eval, "--labels", self.labels, "--metric", "snr"]
        grid = ["--method", "sparsegpt,l2,wanda", "--block", "16x1,8x4", "--sparsity", "0.6,0.9", "--values", "f32,f16", "--seconds", "0.02",
                "--threads", "1"]
        if large:
            grid = ["--method", "obs,sparsegpt,l2,wanda", "--block", "16x1,8x4,16x4", "--sparsity", "0.5,0.6,0.7,0.8,0.9"]
        self.points = 60 if large else 24
        self.line = [*grid, *self.data, "--warmup", "0"]

    def folder(self, name):
        return os.path.join(self.work, name)

    def run(self, name, *more, expect=0):
        return peer.espalier(self.program, "sweep", MODEL, "-o", self.folder(name), *self.line, "-q", *more, expect=expect)


def killed_and_resumed(sweep, seconds):
    """The first kills come early, so that the run is not over before the last."""
    random.seed(1)
    done, kills = False, 0
    while kills < KILLS and not done:
        process = subprocess.Popen([sweep.program, "sweep", MODEL, "-o", sweep.folder("killed"), *sweep.line, "-q"])
        try:
            process.wait(random.uniform(0.05, 1.4 * seconds / KILLS))
            done = True
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    sweep.run("killed")
    assert_equal(sweep.folder("whole"), sweep.folder("killed"))
    assert kills >= KILLS // 2, f"only {kills} kills met the run"
    print(f"ok   killed {kills} times and resumed: the same points and files")


def finished_points_are_kept(sweep):
    folder = sweep.folder("killed")
    before = {n: os.stat(os.path.join(folder, n)).st_mtime_ns for n in models(folder)}
    start = time.monotonic()
    sweep.run("killed")
    assert {n: os.stat(os.path.join(folder, n)).st_mtime_ns for n in models(folder)} == before
    assert time.monotonic() - start < 5, "a run with nothing to do took long"
    # A file that is not what it was is made again.
    name = results(folder)["points"][3]["file"]
    with open(os.path.join(folder, name), "ab") as file:
        file.write(b"x")
    sweep.run("killed")
    assert_equal(sweep.folder("whole"), folder)
    print("ok   finished points are kept, a changed file is made again")


def shards_merge(sweep):
    for shard in (1, 2, 3):
        sweep.run(f"part{shard}", "--shard", f"{shard}/3")
    assert sum(len(points(sweep.folder(f"part{s}"))) for s in (1, 2, 3)) == len(points(sweep.folder("whole")))
    peer.espalier(sweep.program, "sweep", "--merge", *[sweep.folder(f"part{s}") for s in (1, 2, 3)], "-o", sweep.folder("merged"), "-q")
    assert_equal(sweep.folder("whole"), sweep.folder("merged"))
    # Shards may share a folder, too: what is there counts.
    for shard in (2, 1, 3):
        sweep.run("shared", "--shard", f"{shard}/3")
    assert_equal(sweep.folder("whole"), sweep.folder("shared"))
    print("ok   three shards merged, or made in one folder: the same points and files")


def what_does_not_belong_is_refused(sweep):
    other = sweep.folder("other")
    peer.espalier(sweep.program, "sweep", MODEL, "-o", other, "--sparsity", "0.5", "--warmup", "0", "--seconds", "0.02", "-q")
    done = peer.espalier(sweep.program, "sweep", "--merge", sweep.folder("part1"), other, "-o", sweep.folder("bad"), expect=2)
    assert "is another sweep than" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    for arguments, words in ((["--shard", "4/3"], "expected I/N"), (["--pick", "size 3"], "max-drop"), (["--method", "none"], "--method"),
                             (["--block", "0x1"], "0x1"), (["--sparsity", "0.5,0.50"], "duplicate"), (["--sparsity", "1.5"], "sparsity")):
        done = peer.espalier(sweep.program, "sweep", MODEL, "-o", sweep.folder("none"), *arguments, expect=2)
        assert words in done.stderr and len(done.stderr.splitlines()) == 1, (arguments, done.stderr)
        assert not os.path.exists(sweep.folder("none")), arguments
    print("ok   another sweep, and a wrong line, are refused before anything is written")


def the_picked_point_is_prunes(sweep):
    folder = sweep.folder("merged")
    dense = results(folder)["dense"]["metric"]
    # What half of the points keep.
    metrics = sorted(p["metric"] for p in points(folder))
    percent = int(100 * (dense - metrics[len(metrics) // 2]) / dense) + 1
    limit = f"max-drop {percent}%"
    peer.espalier(sweep.program, "sweep", "--merge", folder, "-o", folder, "-q", "--pick", limit)
    found = results(folder)
    picked = next(p for p in found["points"] if p["file"] == found["picked"])
    kept = [p for p in found["points"] if dense - p["metric"] <= percent / 100 * dense]
    assert picked["bytes"] == min(p["bytes"] for p in kept), (picked, kept)
    assert sha256(os.path.join(folder, "picked.onnx")) == picked["sha256"]
    line = ["--method", picked["method"], "--block", picked["block"], "--sparsity", picked["sparsity"]] + (["--values", picked["values"]] if picked["values"] else [])
    out = sweep.folder("p.onnx")
    report = json.loads(peer.espalier(sweep.program, "prune", MODEL, out, *line, *sweep.data, "-q", "--json", "-").stdout)
    assert sha256(out) == picked["sha256"], "prune writes another file"
    assert report["metric"]["b"] == picked["metric"], (report["metric"], picked)
    verified = json.loads(peer.espalier(sweep.program, "verify", MODEL, out, "--inputs", sweep.eval, "--labels", sweep.labels, "--metric", "snr",
                                        "--max-drop", f"{percent}%", "-q", "--json", "-").stdout)
    assert abs(verified["metric"]["b"] - picked["metric"]) < 1e-5 * abs(dense), (verified["metric"], picked)
    again = sweep.folder("r.onnx")
    peer.espalier(sweep.program, "prune", MODEL, again, "--recipe", os.path.join(folder, "picked.recipe.json"), "-q")
    assert sha256(again) == picked["sha256"], "the recipe of the picked point gives another file"
    peer.espalier(sweep.program, "sweep", "--merge", folder, "-o", folder, "-q", "--pick", limit, "--by", "speed")
    found = results(folder)
    picked = next(p for p in found["points"] if p["file"] == found["picked"])
    assert picked["median_ms"] == min(p["median_ms"] for p in found["points"] if dense - p["metric"] <= percent / 100 * dense)
    done = peer.espalier(sweep.program, "sweep", "--merge", folder, "-o", folder, "-q", "--pick", "max-drop -500%", expect=2)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    print("ok   the picked point is the smallest, or the fastest, that keeps the metric, and what prune and verify give")


def efforts_are_an_axis(sweep):
    folder, calib = sweep.folder("efforts"), ["--calib", os.path.join(BANDGRU, "calib")]
    line = ["sweep", MODEL, "-o", folder, "--method", "sparsegpt", "--sparsity", "0.7", "--warmup", "0", "--seconds", "0.02", "-q"]
    peer.espalier(sweep.program, *line, *calib, "--effort", "fast,best")
    found = points(folder)
    assert [p["effort"] for p in found] == ["fast", "best"], found
    assert found[0]["sha256"] != found[1]["sha256"]
    for point in found:
        out = sweep.folder("e.onnx")
        peer.espalier(sweep.program, "prune", MODEL, out, "--method", "sparsegpt", "--sparsity", "0.7", *calib, "--effort", point["effort"], "-q")
        assert sha256(out) == point["sha256"], point
    line[line.index("sparsegpt")] = "l2"
    done = peer.espalier(sweep.program, *line, "--effort", "fast,best", expect=2)  # without data all efforts are one
    assert "--effort best: requires --calib" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    print("ok   efforts are an axis, each point what prune writes with its effort")


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        sweep = Sweep(program, work, "--large" in sys.argv[2:])
        start = time.monotonic()
        sweep.run("whole")
        seconds = time.monotonic() - start
        assert len(points(sweep.folder("whole"))) == sweep.points
        assert any(p["pareto"] for p in results(sweep.folder("whole"))["points"])
        print(f"ok   {sweep.points} points in {seconds:.1f} s")
        killed_and_resumed(sweep, seconds)
        finished_points_are_kept(sweep)
        shards_merge(sweep)
        what_does_not_belong_is_refused(sweep)
        the_picked_point_is_prunes(sweep)
        efforts_are_an_axis(sweep)
        shutil.rmtree(sweep.folder("shared"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
