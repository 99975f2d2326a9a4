#!/usr/bin/env python3
"""Targets of prune are met as measured: the file's size, the metric by onnxruntime; scopes, rounds and curves do what they say.

    targets_test.py ESPALIER
"""
import json
import os
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402


class Case:
    def __init__(self, program, name, folder):
        self.program, self.folder = program, folder
        self.model = peer.need_shared("models", name, "model.onnx")
        self.data = os.path.dirname(self.model)
        self.calib = os.path.join(self.data, "calib")

    def labelled(self):
        return "--eval", os.path.join(self.data, "eval"), "--labels", os.path.join(self.data, "eval/labels.npy")

    def prune(self, out, *options, expect=0):
        out, report = os.path.join(self.folder, out), os.path.join(self.folder, "report.json")
        done = peer.espalier(self.program, "prune", self.model, out, "--calib", self.calib, "--json", report, "-q", *options, expect=expect)
        if expect:
            return done.stderr.strip()
        with open(report, encoding="utf-8") as file:
            return json.load(file)

    def top1(self, model):
        session = peer.session(model)
        name = session.get_inputs()[0].name
        x = np.load(os.path.join(self.data, "eval", f"input_{name}.npy"))
        return float((session.run(None, {name: x})[0].argmax(-1) == np.load(os.path.join(self.data, "eval/labels.npy"))).mean())


def sizes_are_not_exceeded(case):
    for out, target in (("size.onnx", 150_000), ("size.nnef.tgz", 90_000), ("size.nnef.tar", 300_000)):
        report = case.prune(out, "--target-size", str(target))
        size = os.path.getsize(os.path.join(case.folder, out))
        assert size <= target, f"{out}: {size} bytes, at most {target} were asked for"
        assert size > 0.97 * target, f"{out}: {size} bytes, {target} were allowed"
        assert report["curve"] and 0 < report["options"]["sparsity"] < 0.98, report["options"]
    error = case.prune("none.onnx", "--target-size", "100", expect=1)
    assert error.startswith("error: ") and "98 %" in error and "\n" not in error, error
    assert not os.path.exists(os.path.join(case.folder, "none.onnx"))
    print("ok   files of at most the size that was asked for, and not much less")


def drops_are_not_exceeded(case):
    dense = case.top1(case.model)
    found = {}
    for text, allowed in (("1%", 0.01 * dense), ("0.05", 0.05), ("0", 0)):
        report = case.prune("drop.onnx", "--max-drop", text, *case.labelled())
        score = case.top1(os.path.join(case.folder, "drop.onnx"))
        assert dense - score <= allowed + 1e-9, f"--max-drop {text}: {dense} -> {score}"
        found[text] = report["options"]["sparsity"]
    assert found["0"] <= found["1%"] < found["0.05"] and found["1%"] > 0.6, found
    error = case.prune("none.onnx", "--max-drop", "1%", expect=2)
    assert "requires a metric" in error, error
    command = "test -s {model} && echo 1"
    report = case.prune("drop.onnx", "--max-drop", "100%", "--metric-cmd", command)  # a metric that never falls
    assert report["options"]["sparsity"] == 0.98, report["options"]
    print(f"ok   drops of {', '.join(found)} at {', '.join(f'{100 * s:.1f} %' for s in found.values())}")


def latencies(case):
    """No time is judged here: what any time meets, and what none does."""
    report = case.prune("time.onnx", "--target-latency", "1e6")
    assert report["options"]["sparsity"] == 0 and report["curve"][0]["ms"] > 0, report["options"]
    error = case.prune("none.onnx", "--target-latency", "1e-9", expect=1)
    assert "--target-latency" in error and "98 %" in error, error
    print("ok   latencies that are always and never met")


def curves_show_magnitude(case):
    report = case.prune("curve.onnx", "--sparsity", "0.7", "--curve", "0.3,0.9", *case.labelled())
    assert [p["sparsity"] for p in report["curve"]] == [0.3, 0.9], report["curve"]
    low, high = report["curve"]
    assert low["metric"] > low["magnitude"] + 0.05 and high["metric"] > high["magnitude"] + 0.3, report["curve"]
    assert low["bytes"] > high["bytes"] > 1000, report["curve"]
    assert report["metric"]["b"] > report["metric"]["magnitude"] + 0.3, report["metric"]
    errors = [(layer["output_error"], layer["magnitude_error"]) for layer in report["layers"] if layer["output_error"]]
    assert errors and all(a < b for a, b in errors), errors
    print("ok   curve, metric and each layer's error next to those of magnitude")


def scopes_and_order(case):
    scores = {}
    # What is tried in order refits the head, which leaves less between the scopes.
    for way in (("--scope", "layer"), ("--scope", "sensitivity"), ("--scope", "sensitivity", "--sequential"),
                ("--scope", "sensitivity", "--schedule", "cubic:start=0.2,steps=3")):
        report = case.prune("way.onnx", "--sparsity", "0.7", "--effort", "fast", *way, *case.labelled())
        scores[way] = case.top1(os.path.join(case.folder, "way.onnx"))
        assert abs(report["total"]["zeros"] - 0.7) < 0.02, (way, report["total"])
    layer, *others = scores.values()
    assert all(other > layer + 0.2 for other in others), scores
    print("ok   " + ", ".join(f"{' '.join(way[1:])} {score:.3f}" for way, score in scores.items()))


def steps_of_a_schedule(case):
    report = case.prune("step.onnx", "--sparsity", "0.8", "--schedule", "cubic:start=0,steps=16", "--at-step", "8")
    assert abs(report["options"]["sparsity"] - 0.7) < 1e-12, report["options"]  # 0.8 (1 - (1/2)^3)
    print("ok   a step of a schedule")


def what_needs_inputs_says_so(case):
    stats = os.path.join(case.folder, "s.safetensors")
    peer.espalier(case.program, "calibrate", case.model, "--inputs", case.calib, "-o", stats, "--keep-inputs", "0", "-q")
    out = os.path.join(case.folder, "none.onnx")
    for option in (("--sequential",), ("--scope", "sensitivity"), ("--schedule", "cubic:steps=2")):
        error = peer.espalier(case.program, "prune", case.model, out, "--calib", stats, *option, expect=2).stderr
        assert option[0] in error and "statistics" in error, error
    for option in (("--sequential",), ("--scope", "sensitivity")):
        error = peer.espalier(case.program, "prune", case.model, out, *option, expect=2).stderr
        assert option[0] in error and "--calib DATA is required" in error, error
    assert not os.path.exists(out)
    print("ok   what runs the model on calibration inputs wants them")


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        mlp, gru = (Case(program, name, folder) for name in ("mlp_digits", "gru_digits"))
        sizes_are_not_exceeded(mlp)
        drops_are_not_exceeded(mlp)
        latencies(gru)
        curves_show_magnitude(mlp)
        scopes_and_order(gru)
        steps_of_a_schedule(gru)
        what_needs_inputs_says_so(mlp)


main()
