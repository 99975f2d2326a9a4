#!/usr/bin/env python3
"""Pruning with calibration data keeps the accuracy of the models of ../shared/models: thresholds lie below what was measured
(docs/benchmarks.md), and calibration inputs are those of calib/ alone.    calibration_test.py ESPALIER"""
import json
import os
import re
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

# model, sparsity in 16x1 blocks, least top-1
TOP1 = [("mlp_digits", 0.5, 0.98), ("mlp_digits", 0.7, 0.97), ("mlp_digits", 0.8, 0.95), ("gru_digits", 0.5, 0.97), ("gru_digits", 0.7, 0.90),
        ("cnn_digits", 0.5, 0.99), ("cnn_digits", 0.7, 0.985)]


def score(program, model, folder, *options):
    """top-1 as the report has it, and as onnxruntime finds it for the written file."""
    data, out, report = os.path.dirname(model), os.path.join(folder, "p.onnx"), os.path.join(folder, "p.json")
    labels = os.path.join(data, "eval/labels.npy")
    peer.espalier(program, "prune", model, out, "--eval", os.path.join(data, "eval"), "--labels", labels, "--json", report, "-q", *options)
    with open(report, encoding="utf-8") as file:
        found = json.load(file)
    session = peer.session(out)
    name = session.get_inputs()[0].name
    x = np.load(next(os.path.join(data, "eval", f) for f in os.listdir(os.path.join(data, "eval")) if f.startswith("input_")))
    theirs = float((session.run(None, {name: x})[0].argmax(-1) == np.load(labels)).mean())
    assert abs(found["metric"]["b"] - theirs) < 2 / len(x), f"the report says {found['metric']['b']}, onnxruntime {theirs}"
    return found, theirs


def accuracy_is_kept(program, folder):
    for name, sparsity, least in TOP1:
        model = peer.need_shared("models", name, "model.onnx")
        calib = os.path.join(os.path.dirname(model), "calib")
        report, top1 = score(program, model, folder, "--calib", calib, "--sparsity", str(sparsity))
        assert report["options"]["method"] == "obs" and report["options"]["refit"] is True, report["options"]
        assert abs(report["total"]["zeros"] - sparsity) < 0.01, report["total"]
        assert top1 >= least, f"{name} at {sparsity}: {top1}, at least {least} expected"
        print(f"ok   {name} {sparsity}: {top1:.4f}")


def each_part_helps(program, folder):
    """On one layer's sparsity: magnitude, then its refit, then obs with the refit."""
    model = peer.need_shared("models", "mlp_digits", "model.onnx")
    calib = ("--calib", os.path.join(os.path.dirname(model), "calib"))
    rest = ("--sparsity", "0.7", "--scope", "layer")
    runs = [score(program, model, folder, *options, *rest) for options in
            (("--method", "l2"), (*calib, "--method", "l2"), (*calib, "--method", "wanda"), (*calib, "--method", "obs"), (*calib, "--method", "obs", "--no-refit"))]
    l2, l2_refit, wanda, obs, obs_bare = (top1 for _, top1 in runs)
    errors = [[layer["output_error"] for layer in report["layers"]] for report, _ in runs]
    assert l2_refit > l2 + 0.3 and obs > l2_refit and wanda > l2 + 0.3 and obs > obs_bare, (l2, l2_refit, wanda, obs, obs_bare)
    assert all(b < a for a, b in zip(errors[0], errors[1])), errors
    assert all(b < a for a, b in zip(errors[1], errors[3])), errors
    print(f"ok   l2 {l2:.3f}, with refit {l2_refit:.3f}, wanda {wanda:.3f}, obs {obs:.3f}, without refit {obs_bare:.3f}")


def statistics_serve_like_the_inputs(program, folder):
    model = peer.need_shared("models", "gru_digits", "model.onnx")
    data = os.path.dirname(model)
    stats, a, b = (os.path.join(folder, n) for n in ("s.safetensors", "a.onnx", "b.onnx"))
    peer.espalier(program, "calibrate", model, "--inputs", os.path.join(data, "calib"), "-o", stats, "-q")
    same = ("--sparsity", "0.6", "--inputs", os.path.join(data, "eval"), "-q")

    def both(what, *options):
        peer.espalier(program, "prune", model, a, "--calib", os.path.join(data, "calib"), *options, *same)
        peer.espalier(program, "prune", model, b, "--calib", stats, *options, *same, "--threads", "1")
        with open(a, "rb") as first, open(b, "rb") as second:
            assert first.read() == second.read(), f"{what}: the file of statistics gives another model than the inputs it was made of"

    both("default")  # order and scope are chosen by the inputs that the file keeps
    both("fast", "--effort", "fast")

    def note_of(*keep):
        made = peer.espalier(program, "calibrate", model, "--inputs", os.path.join(data, "calib"), "-o", stats, *keep).stdout
        said = peer.espalier(program, "prune", model, b, "--calib", stats, "--sparsity", "0.6", "--inputs", os.path.join(data, "eval")).stdout
        return " ".join(made.split()), " ".join(said.split())

    made, said = note_of("--keep-inputs", "20kB")
    kept, feeds = map(int, re.search(r"the file keeps (\d+) of (\d+) feeds", made).groups())
    assert 0 < kept < feeds and f"keeps {kept} of {feeds} feeds" in said, (made, said)
    made, said = note_of("--keep-inputs", "0")
    assert "the file keeps no inputs" in made and "keeps no inputs" in said and "scope global" in said, (made, said)
    both("global", "--scope", "global", "--effort", "fast")
    print("ok   a file of statistics gives the same bytes as the inputs, or says why not")


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        accuracy_is_kept(program, folder)
        each_part_helps(program, folder)
        statistics_serve_like_the_inputs(program, folder)


main()
