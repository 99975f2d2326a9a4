#!/usr/bin/env python3
"""What `advise` predicts for a whole model next to what `bench` measures of the model pruned so: one thread, in turns within one run.

    advise_predictions.py ESPALIER [--rounds N] [--seconds S] [--only NAME,..] [--block RxC]

advise measures the dense model and two samples of it with blocks kept at random, and predicts the time at 80 and 90 % zeros; bench then times
the dense model and the files that `prune --method random --scope layer` writes at these. A row holds the medians over the rounds; off: the
predicted time over the measured one, less one. Target: 15 % either way. Models come from ../shared/models (or $ESPALIER_SHARED/models).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dense_models  # noqa: E402

TARGET = 0.15
SPARSITIES = (80, 90)


def espalier(program, *arguments):
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(" ".join(arguments) + "\n" + done.stderr)
    return done.stdout


def predicted(program, model, data, block):
    found = json.loads(espalier(program, "advise", model, "--block", block, "--inputs", data, "--threads", "1", "-q", "--json", "-"))["model"]
    return {80: found["ms_packed_80"], 90: found["ms_packed_90"]}


def measured(program, files, data, seconds):
    """Medians of the files' runs, interleaved by bench itself."""
    line = ["bench", *files, "--inputs", data, "--threads", "1", "--warmup", str(seconds / 4), "--seconds", str(seconds), "-q", "--json", "-"]
    return [m["median_ms"] for m in json.loads(espalier(program, *line))["models"]]


def row(program, name, options, folder):
    source, step = dense_models.MODELS[name]
    model = dense_models.shared_models() / source
    data = os.path.join(folder, "data")
    os.mkdir(data)
    dense_models.write_feed(dense_models.feed_of(model / "model.onnx", model, step), data)
    model, files = str(model / "model.onnx"), []
    for sparsity in SPARSITIES:
        files.append(os.path.join(folder, f"{sparsity}.onnx"))
        espalier(program, "prune", model, files[-1], "--method", "random", "--scope", "layer", "--block", options.block, "--sparsity", str(sparsity / 100),
                 "--no-verify", "-q")
    ahead, behind = [], []
    for _ in range(options.rounds):
        ahead.append(predicted(program, model, data, options.block))
        behind.append(measured(program, [model, *files], data, options.seconds))
    dense = statistics.median(b[0] for b in behind)
    cells, off = [], []
    for i, sparsity in enumerate(SPARSITIES):
        a, b = statistics.median(p[sparsity] for p in ahead), statistics.median(m[1 + i] for m in behind)
        off.append(a / b - 1)
        cells += [f"{a:.4g}", f"{b:.4g}", f"{100 * off[-1]:+.1f} %"]
    print(f"| {name} | {dense:.4g} | " + " | ".join(cells) + " |", flush=True)
    return max(abs(o) for o in off)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("espalier")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--block", default="16x1")
    options = parser.parse_args()
    program = os.path.abspath(options.espalier)
    names = [n for n in options.only.split(",") if n] or list(dense_models.MODELS)
    print("| model | dense ms | " + " | ".join(f"{s} %: predicted | measured | off" for s in SPARSITIES) + " |")
    print("|" + "---|" * (2 + 3 * len(SPARSITIES)))
    worst = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            worst[name] = row(program, name, options, folder)
    print(f"{sum(o <= TARGET for o in worst.values())} of {len(worst)} models within {100 * TARGET:.0f} %")


if __name__ == "__main__":
    main()
