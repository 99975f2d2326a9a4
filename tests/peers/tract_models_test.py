#!/usr/bin/env python3
"""The models of ../shared/models as NNEF in stock tract against ONNX in onnxruntime, dense and pruned: largest relative difference of any output
over the stored test inputs, and again after espalier has read the NNEF file back and written it as ONNX.

    tract_models_test.py ESPALIER [MODEL...]
"""
import os
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

MODELS = ["mlp_digits", "cnn_digits", "gru_digits", "bandgru_denoise", "bandgru_trained_16x1_90", "bandgru384_trained_lpcnet",
          "silero_vad_16k_sequence", "dtln_1", "dtln_2"]
TOLERANCE = 1e-4
# What is written: arguments of the program, the same for the NNEF file and the dense ONNX file that it is compared with; ending of the NNEF file.
WAYS = {
    "dense": (["convert"], ["--profile", "dense"], ".tar"),
    "packed": (["convert"], [], ".nnef.tgz"),
    "16x1": (["prune", "--block", "16x1"], [], ".nnef.tgz"),
    "16x4": (["prune", "--block", "16x4"], [], ""),
    "1x1": (["prune", "--block", "1x1"], [], ".nnef.tar"),
    "2:4": (["prune", "--nm", "2:4"], [], ".tgz"),
    "5x3": (["prune", "--block", "5x3"], [], ".nnef.tar"),
    "8x1 first f16": (["prune", "--block", "8x1", "--values", "f16"], ["--index", "first-element"], ".nnef.tar"),
}


def run_tract(path, feeds):
    import tract
    runnable = tract.nnef().load(path).into_runnable()
    return [[o.to_numpy() for o in runnable.run([np.ascontiguousarray(v) for v in feed.values()])] for feed in feeds]


def run_onnx(path, feeds):
    session = peer.session(path)
    names = [i.name for i in session.get_inputs()]
    return [session.run(None, dict(zip(names, feed.values()))) for feed in feeds]


def worst(found, expected):
    return max(peer.relative_difference(f, e) for f, e in zip(found, expected, strict=True))


def check(program, model, way, folder):
    (command, *options), nnef_options, ending = WAYS[way]
    source = peer.need_shared("models", model, "model.onnx")
    target, dense, again = (os.path.join(folder, name) for name in ("model" + ending, "dense.onnx", "again.onnx"))
    if command == "prune":
        options += ["--sparsity", "0.5", "--method", "l2"]
    peer.espalier(program, command, source, target, "-q", *options, *nnef_options)
    peer.espalier(program, command, source, dense, "-q", *options, "--profile", "dense")
    peer.espalier(program, "convert", target, again, "-q", "--profile", "dense")
    session = peer.session(source)
    count = sum(os.path.isdir(os.path.join(os.path.dirname(source), f"test_data_set_{i}")) for i in range(9))
    feeds = [peer.test_inputs(source, session, i) for i in range(count)]
    expected = run_onnx(dense, feeds)
    size = sum(os.path.getsize(os.path.join(place, name)) for place, _, names in os.walk(target) for name in names) or os.path.getsize(target)
    return worst(run_tract(target, feeds), expected), worst(run_onnx(again, feeds), expected), size


def main(program, models):
    faults = count = 0
    print(f"{'model':28} {'written as':14} {'bytes':>9}  {'tract':>8} {'read back':>9}")
    for model in models or MODELS:
        for way in WAYS:
            count += 1
            with tempfile.TemporaryDirectory() as folder:
                try:
                    in_tract, again, size = check(program, model, way, folder)
                except Exception as error:  # noqa: BLE001
                    faults += 1
                    print(f"{model:28} {way:14} FAIL {' '.join(str(error).split('Stack backtrace')[0].split())[-500:]}")
                    continue
            bad = not (in_tract <= TOLERANCE and again <= TOLERANCE)
            faults += bad
            print(f"{model:28} {way:14} {size:9}  {in_tract:8.1e} {again:9.1e}{'  FAIL' if bad else ''}")
    print(f"{count - faults} passed, {faults} failed")
    return 1 if faults or not count else 0


if __name__ == "__main__":
    peer.need_shared("models")
    sys.exit(main(sys.argv[1], sys.argv[2:]))
