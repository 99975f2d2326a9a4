#!/usr/bin/env python3
"""The smallest file and fastest packed run of each model of ../shared/models that lose at most 1 % of the metric (0.3 dB), found by
prune --max-drop with calibration inputs, in f32 and with --values auto, next to what l2 alone reaches within the same drop and to the file that
onnxruntime's quantize_dynamic makes (whatever that loses).

    headline.py ESPALIER [--models A,B] [--block 16x1] [--rounds N] [--seconds S] [--files DIR] [--no-times] [prune options]

Metrics are those of each model's evaluate.py, by onnxruntime on the written file. Times: one thread, espalier's packed and dense model and
onnxruntime's dense one in turns, minima over the rounds. With --files the files stay in DIR and are used again: make them with --no-times beside
other work, and time them alone afterwards. bandgru_trained_16x1_90 and bandgru384_trained_lpcnet, pruned in training, are packed.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import peer  # noqa: E402
from dense_models import Peer, bench, feed_of, write_feed  # noqa: E402

MODELS = ["mlp_digits", "cnn_digits", "gru_digits", "bandgru_denoise", "bandgru_trained_16x1_90", "bandgru384_trained_lpcnet",
          "silero_vad_16k_sequence", "magika_v3_3", "paraphrase_minilm_l3", "ppocrv4_rec"]
TRAINED = {"bandgru_trained_16x1_90", "bandgru384_trained_lpcnet"}


def drop_of(folder):
    """What --max-drop takes for the model's metric."""
    with open(folder / "eval.json", encoding="utf-8") as file:
        return "0.3" if json.load(file)["metric"].endswith("_db") else "1%"


def pack(program, folder, out, way, options):
    """Writes the file `out`, with its report beside it, and returns the report."""
    model, score = str(folder / "model.onnx"), f"{sys.executable} {folder.parent / 'evaluate.py'} {folder} --model {{model}} --value-only"
    report = out.with_suffix(".json")
    if not report.exists():
        if way == "convert":
            command = ["convert", model, out]
        else:
            command = ["prune", model, out, "--max-drop", drop_of(folder), *options]
            command += ["--method", "l2"] if way == "l2" else ["--calib", str(folder / "calib")]
            command += ["--values", "auto"] if way == "auto" else []
        subprocess.run([program, *command, "--metric-cmd", score, "--json", report, "-q"], check=True, stderr=subprocess.DEVNULL)
    with open(report, encoding="utf-8") as file:
        return json.load(file)


def quantized(folder, out):
    """Writes what onnxruntime's dynamic int8 makes of the model, and returns its metric, scored as the others are."""
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process
    if not out.exists():
        prepared = out.with_suffix(".prepared")  # weights in Constant nodes are not quantized otherwise (ppocrv4_rec)
        quant_pre_process(str(folder / "model.onnx"), prepared, skip_symbolic_shape=True)
        quantize_dynamic(prepared, out)
    scored = subprocess.run([sys.executable, str(folder.parent / "evaluate.py"), str(folder), "--model", out, "--value-only"],
                            capture_output=True, text=True, check=True)
    return float(scored.stdout)


def least_times_of_peers(folder, files, rounds, seconds):
    feed = feed_of(folder / "model.onnx", folder, {})
    sessions, found = [Peer(file, feed) for file in files], [[] for _ in files]
    for _ in range(rounds):
        for session, times_of in zip(sessions, found):
            times_of.append(session.milliseconds(seconds)[1])
    return [min(one) for one in found]


def times(program, folder, packed, rounds, seconds):
    """Least milliseconds of the packed and the dense model here, and of onnxruntime's dense one."""
    feed = feed_of(folder / "model.onnx", folder, {})
    with tempfile.TemporaryDirectory() as inputs:
        write_feed(feed, inputs)
        session = Peer(folder / "model.onnx", feed)
        found = [[], [], []]
        for _ in range(rounds):
            found[0].append(bench(program, packed, inputs, seconds)["models"][0]["min_ms"])
            found[1].append(bench(program, str(folder / "model.onnx"), inputs, seconds)["models"][0]["min_ms"])
            found[2].append(session.milliseconds(seconds)[1])
    return [min(one) for one in found]


def row_of(name, dense, what, metric, sparsity, path, before, speedups):
    size = os.path.getsize(path)
    print(f"| {name} | {dense:.4g} | {what} | {metric:.4g} | {sparsity} | {size} | {100 * size / before:.0f} % | {' | '.join(speedups)} |", flush=True)


def rows_of(args, options, name, files):
    """Makes the model's files in the folder `files`, times them and prints their rows."""
    folder = Path(peer.need_shared("models", name, "model.onnx")).resolve().parent
    program, model = os.path.abspath(args.program), folder / "model.onnx"
    before = os.path.getsize(model)
    for way in ("convert",) if name in TRAINED else ("obs", "auto", "l2"):
        out = files / f"{name}_{way}.onnx"
        found = pack(program, folder, out, way, options)
        speedups = ["-", "-"]
        if not args.no_times:
            ours, dense, theirs = times(program, folder, str(out), args.rounds, args.seconds)
            speedups = [f"{dense / ours:.2f}x", f"{theirs / ours:.2f}x"]
        metric = found["metric"]
        row_of(name, metric["a"], "pruned in training" if way == "convert" else way, metric["b"], f"{found['total']['zeros']:.3f}", out, before, speedups)
    if name in TRAINED:
        return
    out = files / f"{name}_int8.onnx"
    score, speedup = quantized(folder, out), "-"
    if not args.no_times:
        theirs, int8 = least_times_of_peers(folder, [model, out], args.rounds, args.seconds)
        speedup = f"{theirs / int8:.2f}x"
    row_of(name, found["metric"]["a"], "quantize_dynamic", score, "0", out, before, ["-", speedup])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--files", type=Path)
    parser.add_argument("--no-times", action="store_true")
    args, options = parser.parse_known_args()
    print("| model | metric, dense | what | metric | sparsity | file | of dense | times dense | times onnxruntime |\n|---|---|---|---|---|---|---|---|---|")
    for name in args.models.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            files = args.files or Path(temporary)
            files.mkdir(exist_ok=True)
            rows_of(args, options, name, files)


if __name__ == "__main__":
    sys.exit(main())
