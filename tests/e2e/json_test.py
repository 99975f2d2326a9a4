#!/usr/bin/env python3
"""What --json writes: every command's report fits docs/report.schema.json, says how it came about, and gives speed, metric and trials as
numbers; advise and prune name the same layers by the same nodes.

    json_test.py ESPALIER
"""
import hashlib
import json
import os
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

BANDGRU = os.path.join(peer.ROOT, "testdata/bandgru")
MODEL = os.path.join(BANDGRU, "denoise.onnx")
CALIB = os.path.join(BANDGRU, "calib")


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def reference_outputs(program, folder):
    """Labels for the metric: the dense model's outputs."""
    peer.espalier(program, "run", MODEL, "--inputs", os.path.join(BANDGRU, "eval/input_bands.npy"), "-o", folder, "-q")
    return os.path.join(folder, "output_gains.npy")


class Reports:
    def __init__(self, program, folder, validator):
        self.program, self.folder, self.validator = program, folder, validator

    def of(self, kind, *arguments):
        done = peer.espalier(self.program, *arguments, "-q", "--json", "-")
        report = json.loads(done.stdout)
        self.check(kind, report)
        print(f"ok   {arguments[0]}: fits the schema of {kind}")
        return report

    def check(self, kind, report):
        faults = [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in self.validator(kind).iter_errors(report)]
        assert not faults, (kind, faults[:5])


def numbers_are_numbers(reports, labels):
    packed = os.path.join(reports.folder, "p.onnx")
    found = reports.of("prune", "prune", MODEL, packed, "--calib", CALIB, "--method", "l2", "--eval", os.path.join(BANDGRU, "eval"), "--labels", labels,
                       "--metric", "snr", "--max-drop", "30%", "--threads", "1", "--seed", "7")
    run = found["run"]
    assert run["model_sha256"] == sha256(MODEL), run
    assert run["seed"] == 7 and run["threads"] == 1 and "--max-drop 30%" in run["command"], run
    speed = found["speed"]
    assert abs(speed["speedup"] - speed["dense_ms"] / speed["packed_ms"]) < 1e-9 and speed["runs"] > 0 and speed["threads"] == 1, speed
    metric = found["metric"]
    assert metric["drop_low"] is None or metric["drop_low"] <= metric["drop_high"], metric
    assert found["curve"] and all(p["bytes"] > 0 and p["ms"] > 0 for p in found["curve"]), found["curve"]
    reached = [p for p in found["curve"] if p["bytes"] == os.path.getsize(packed)]
    assert reached, "no trial has the size of the file that was written"
    print("ok   speed, metric and trials are numbers; the model's digest is sha256sum's")
    return packed


def intervals_hold_the_drop(reports, labels):
    found = reports.of("verify", "verify", MODEL, os.path.join(reports.folder, "v.onnx"), "--inputs", os.path.join(BANDGRU, "eval"), "--labels", labels,
                       "--metric", "mse", "--max-drop", "1")
    metric = found["metric"]
    assert metric["drop_low"] <= metric["drop"] <= metric["drop_high"], metric
    assert metric["drop_low"] < metric["drop_high"], metric
    # The same numbers each time.
    again = reports.of("verify", "verify", MODEL, os.path.join(reports.folder, "v.onnx"), "--inputs", os.path.join(BANDGRU, "eval"), "--labels", labels,
                       "--metric", "mse", "--max-drop", "1")
    assert again["metric"] == metric
    print("ok   the interval of the drop holds it and is the same each time")


def nodes_join(reports, packed):
    pruned = reports.of("prune", "prune", MODEL, os.path.join(reports.folder, "q.onnx"), "--sparsity", "0.8")
    advised = reports.of("advise", "advise", MODEL, "--block", "16x1", "--threads", "1")
    inspected = reports.of("inspect", "inspect", MODEL)
    calibrated = reports.of("calibrate", "calibrate", MODEL, "--inputs", CALIB, "-o", os.path.join(reports.folder, "s.safetensors"))
    key = lambda r: (r["node"], r["weight"])  # noqa: E731
    names = {key(r) for r in pruned["layers"]}
    for other in (advised, inspected, calibrated):
        assert names == {key(r) for r in other["layers"]}, (names, other["layers"])
    assert ("GRU_4", "R1") in names, names
    print("ok   advise, prune, inspect and calibrate name node and weight alike")


def main():
    program = os.path.abspath(sys.argv[1])
    try:
        import jsonschema
    except ImportError:
        print("skipped: the Python package jsonschema is absent (scripts/setup --peers)")
        return peer.SKIPPED
    with open(os.path.join(peer.ROOT, "docs/report.schema.json"), encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)

    def validator(kind):
        return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": schema["$defs"]})

    with tempfile.TemporaryDirectory() as folder:
        reports = Reports(program, folder, validator)
        labels = reference_outputs(program, folder)
        noisy = np.load(labels) + np.random.default_rng(0).normal(0, 0.05, np.load(labels).shape).astype(np.float32)
        np.save(labels, noisy)
        packed = numbers_are_numbers(reports, labels)
        peer.espalier(program, "prune", MODEL, os.path.join(folder, "v.onnx"), "--sparsity", "0.6", "-q")
        intervals_hold_the_drop(reports, labels)
        nodes_join(reports, packed)
        reports.of("bench", "bench", MODEL, packed, "--warmup", "0", "--seconds", "0.05", "--threads", "1")
        reports.of("kernels", "bench", "--kernels", "--shape", "64x64", "--n", "1", "--block", "16x1", "--seconds", "0.01")
        reports.of("diff", "diff", MODEL, packed)
        reports.of("prune", "convert", packed, os.path.join(folder, "c.nnef.tgz"))
        reports.of("mask", "mask", "export", packed, "-o", os.path.join(folder, "m.npz"))
        reports.of("prune", "mask", "apply", MODEL, os.path.join(folder, "m.npz"), "-o", os.path.join(folder, "a.onnx"))
        reports.of("verify", "run", os.path.join(BANDGRU, "trained_16x1_90.onnx"), "--inputs", os.path.join(BANDGRU, "test_data_set_0"), "--check")
        peer.espalier(program, "sweep", MODEL, "-o", os.path.join(folder, "grid"), "--sparsity", "0.5,0.9", "--seconds", "0.02", "--warmup", "0", "-q")
        with open(os.path.join(folder, "grid/results.json"), encoding="utf-8") as file:
            reports.check("sweep", json.load(file))
        print("ok   sweep: results.json fits the schema of sweep")
    return 0


if __name__ == "__main__":
    sys.exit(main())
