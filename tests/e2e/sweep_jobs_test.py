#!/usr/bin/env python3
"""The files of docs/howto/sweep-jobs.md: three parts as processes of their own, with the variables that Slurm and Kubernetes set, give the points
that one run gives.

    sweep_jobs_test.py ESPALIER
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

JOBS = os.path.join(peer.ROOT, "docs/howto/sweep-jobs")
MODEL = os.path.join(peer.ROOT, "testdata/bandgru/denoise.onnx")
CALIB = os.path.join(peer.ROOT, "testdata/bandgru/calib")
LINE = ["--block", "16x1,8x4", "--sparsity", "0.7,0.8,0.9", "--method", "l2", "--warmup", "0", "--seconds", "0.02"]


def points(folder):
    with open(os.path.join(folder, "results.json"), encoding="utf-8") as file:
        return [{k: v for k, v in p.items() if k not in ("median_ms", "speedup", "pareto")} for p in json.load(file)["points"]]


def run_all(commands):
    """At the same time, as the machines of an array of jobs do."""
    processes = [subprocess.Popen(command, env={**os.environ, **more}, cwd=cwd, stdout=subprocess.DEVNULL) for command, more, cwd in commands]
    assert [p.wait() for p in processes] == [0] * len(processes)


def slurm(program, work):
    folder = os.path.join(work, "slurm")
    run_all([(["bash", os.path.join(JOBS, "slurm.sh"), MODEL, folder, *LINE],
              {"ESPALIER": program, "SLURM_ARRAY_TASK_ID": str(i), "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_CPUS_PER_TASK": "1"}, work) for i in (1, 2, 3)])
    peer.espalier(program, "sweep", "--merge", folder, "-o", folder, "-q")
    return points(folder)


def kubernetes(program, work):
    """The shell line of the manifest, in a folder with the names that it uses."""
    with open(os.path.join(JOBS, "kubernetes.yaml"), encoding="utf-8") as file:
        text = file.read()
    line = " ".join(re.search(r"args:\n\s+- (.*\n.*)\n", text).group(1).split())
    parts = re.search(r'PARTS, value: "(\d+)"', text).group(1)
    shutil.copy(MODEL, os.path.join(work, "model.onnx"))
    shutil.copytree(CALIB, os.path.join(work, "calib"))
    bin_folder = os.path.join(work, "bin")
    os.mkdir(bin_folder)
    os.symlink(program, os.path.join(bin_folder, "espalier"))
    line = line.replace("--calib calib", "").replace("exec ", "") + " --method l2 --warmup 0 --seconds 0.02"
    run_all([(["sh", "-c", line], {"PATH": bin_folder + ":" + os.environ["PATH"], "JOB_COMPLETION_INDEX": str(i), "PARTS": parts}, work)
             for i in range(int(parts))])
    folder = os.path.join(work, "grid")
    peer.espalier(program, "sweep", "--merge", folder, "-o", folder, "-q")
    return points(folder)


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        whole = os.path.join(work, "whole")
        peer.espalier(program, "sweep", MODEL, "-o", whole, *LINE, "--threads", "1", "-q")
        assert len(points(whole)) == 6
        assert slurm(program, work) == points(whole)
        print("ok   the array job of Slurm")
        assert kubernetes(program, work) == points(whole)
        print("ok   the indexed job of Kubernetes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
