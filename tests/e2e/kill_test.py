#!/usr/bin/env python3
"""Disturbs the program while it replaces a file, a file with a data file, an archive and a folder: kills at random moments, signals, a full disk,
several runs at once. What it reads stays as it is; the target is the old one or the new one, whole; what a killed run left, the next one removes.
kill_test.py ESPALIER"""
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

KILLS = 25  # for each target: 100 together, and some by a signal that can be handled
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FULL_AT = 20
WIDTH = 1024
TARGETS = ("out.onnx", "two.onnx", "out.nnef.tgz", "out.nnef.tar", "out_folder")


def make_model(path, external):
    values = np.random.default_rng(3).standard_normal((WIDTH, WIDTH), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "mm")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, WIDTH])], [numpy_helper.from_array(values, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if external and os.path.exists(path + ".data"):
        os.remove(path + ".data")  # onnx does not replace it
    where = {"save_as_external_data": True, "location": os.path.basename(path) + ".data", "size_threshold": 0} if external else {}
    onnx.save(model, path, **where)


def file_digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def digest(path):
    """One hash over what a target holds: a folder's files, a model with the data that it refers to, whatever these are called; "" for nothing."""
    if os.path.isdir(path):
        files = sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
        return hashlib.sha256("".join(os.path.relpath(f, path) + file_digest(f) for f in files).encode()).hexdigest()
    if not os.path.exists(path):
        return ""
    if not path.endswith(".onnx"):
        return file_digest(path)
    try:
        return hashlib.sha256(onnx.load(path).SerializeToString(deterministic=True)).hexdigest()
    except Exception as error:  # the data are not there: a broken model
        return f"broken: {error}"


def names_of(path):
    """What a target consists of, as names beside it."""
    if not path.endswith(".onnx"):
        return {os.path.basename(path)}
    model = onnx.load(path, load_external_data=False)
    return {os.path.basename(path)} | {e.value for t in model.graph.initializer for e in t.external_data if e.key == "location"}


class Target:
    """A target in a folder of its own, what it is before and after the run that is disturbed, and the inputs that must stay."""

    def __init__(self, program, folder, name):
        self.name, self.home = name, os.path.join(folder, "home_" + name)
        os.mkdir(self.home)
        self.out = os.path.join(self.home, name)
        self.model = os.path.join(folder, "in_two.onnx" if name == "two.onnx" else "in.onnx")
        self.inputs = digest(self.model)
        self.program = program
        self.new_run = [program, "prune", self.model, self.out, "--sparsity", "0.9", "--no-verify", "-q"]
        self.old_run = [program, "prune", self.model, self.out, "--sparsity", "0.3", "--no-verify", "-q"]
        self.run(self.new_run)  # once before, so that the one that is timed replaces
        began = time.monotonic()
        self.run(self.new_run)
        self.seconds = time.monotonic() - began
        self.new = digest(self.out)
        self.restore()
        self.old = digest(self.out)
        if len(names_of(self.out)) != (2 if name == "two.onnx" else 1) or self.old == self.new:
            sys.exit(f"FAIL {name}: the target is not what this test is about")

    def run(self, command):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"FAIL {self.name}: undisturbed, it ends with {done.returncode}: {done.stderr}")

    def restore(self):
        self.run(self.old_run)

    def strays(self):
        return sorted(set(os.listdir(self.home)) - names_of(self.out))

    def check(self, what, faults, allowed=None):
        found = digest(self.out)
        if found not in (allowed or (self.old, self.new)):
            faults.append(f"{self.name}: {what} left {'nothing' if not found else 'something else'} ({found[:60]})")
        if digest(self.model) != self.inputs:
            faults.append(f"{self.name}: {what} changed what is read")
        return found


def disturbed_by(target, how, rng, faults, seen):
    process = subprocess.Popen(target.new_run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(rng.uniform(0, 1.1 * target.seconds))
    process.send_signal(how)
    status = process.wait()
    found = target.check(how.name, faults)
    seen["new" if found == target.new else "old"] += 1
    if status not in (0, -how):
        faults.append(f"{target.name}: {how.name} ended it with {status}")
    if how != signal.SIGKILL and target.strays():
        faults.append(f"{target.name}: {how.name} left {target.strays()}")
    if found == target.new:
        target.restore()  # which replaces the new one, and removes what the killed run left
        if target.strays():
            faults.append(f"{target.name}: after the next run there still are {target.strays()}")


def full_disk(target, faults):
    """A limit on the size of files fails a write as a full disk does, at each of several places."""
    sizes = [os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(target.home) for name in names]
    for point in range(FULL_AT):
        limit = max(sizes) * point // FULL_AT
        done = subprocess.run(target.old_run, capture_output=True, text=True,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        target.check(f"a limit of {limit} bytes", faults, (target.old,))
        if done.returncode != 1 or len(done.stderr.splitlines()) != 1 or not done.stderr.startswith("error: "):
            faults.append(f"{target.name}: a limit of {limit} bytes ended it with {done.returncode}: {done.stderr!r}")
        if target.strays():
            faults.append(f"{target.name}: a limit of {limit} bytes left {target.strays()}")


def full_tmpfs(program, folder, faults):
    """The same on a file system that is really full, where one may be mounted."""
    disk = os.path.join(folder, "disk")
    os.mkdir(disk)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], capture_output=True).returncode != 0:
        print("no small file system may be mounted here: full disks by limits alone")
        return
    try:
        model, out = os.path.join(folder, "in_two.onnx"), os.path.join(disk, "two.onnx")
        subprocess.run([program, "prune", model, out, "--sparsity", "0.3", "--no-verify", "-q"], check=True)
        old, listing = digest(out), sorted(os.listdir(disk))
        done = subprocess.run([program, "prune", model, out, "--sparsity", "0.2", "--no-verify", "-q"], capture_output=True, text=True)
        if done.returncode != 1 or "No space left on device" not in done.stderr:
            faults.append(f"full disk: it ended with {done.returncode}: {done.stderr!r}")
        if digest(out) != old or sorted(os.listdir(disk)) != listing:
            faults.append(f"full disk: the target changed, or something was left: {os.listdir(disk)}")
    finally:
        subprocess.run(["umount", disk], check=True)


def at_once(target, faults):
    runs = [target.new_run[:5] + [str(sparsity), "--no-verify", "-q"] for sparsity in (0.3, 0.6, 0.9)]
    wanted = set()
    for run in runs:
        target.run(run)
        wanted.add(digest(target.out))
    for _ in range(3):
        processes = [subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for run in runs]
        ends = [(process.communicate()[1], process.returncode) for process in processes]
        if any(status != 0 for _, status in ends):
            faults.append(f"{target.name}: of three runs at once some failed: {ends}")
        target.check("three runs at once", faults, wanted)
    target.restore()
    if target.strays():
        faults.append(f"{target.name}: three runs at once left {target.strays()}")


def in_place(program, folder, faults, rng):
    """IN itself is replaced, with its data: it is the old or the new one, and always whole."""
    model = os.path.join(folder, "itself.onnx")
    command = [program, "prune", model, "--in-place", "--sparsity", "0.5", "--no-verify", "-q"]
    make_model(model, True)
    old = digest(model)
    subprocess.run(command, check=True)
    new = digest(model)
    for turn in range(KILLS):
        make_model(model, True)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        process.wait()
        if digest(model) not in (old, new):
            faults.append(f"--in-place, kill {turn}: {digest(model)[:80]}")


def main(program):
    faults, seen = [], {"old": 0, "new": 0}
    rng = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        make_model(os.path.join(folder, "in.onnx"), False)
        make_model(os.path.join(folder, "in_two.onnx"), True)
        for name in TARGETS:
            target = Target(program, folder, name)
            for _ in range(KILLS):
                disturbed_by(target, signal.SIGKILL, rng, faults, seen)
            target.restore()
            if target.strays():
                faults.append(f"{name}: kills left {target.strays()}, and the next run did not remove it")
            for how in SIGNALS * 3:
                disturbed_by(target, how, rng, faults, seen)
            target.restore()
            full_disk(target, faults)
            at_once(target, faults)
        full_tmpfs(program, folder, faults)
        in_place(program, folder, faults, rng)
    for fault in faults:
        print("FAIL", fault)
    print(f"{len(TARGETS) * KILLS} kills and {len(TARGETS) * 3 * len(SIGNALS)} signals: the target was the old one {seen['old']} times, the new one "
          f"{seen['new']} times; {len(TARGETS) * FULL_AT} full disks; {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
