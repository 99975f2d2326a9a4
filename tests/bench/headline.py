#!/usr/bin/env python3
"""The smallest file and fastest packed run of each model of ../shared/models that lose at most 1 % of the metric (0.3 dB), found by
prune --max-drop with calibration inputs, in f32 and with --values auto, next to what l2 alone reaches within the same drop and to the file that
onnxruntime's quantize_dynamic makes (whatever that loses).

    headline.py ESPALIER [--models A,B] [--block 16x1] [--rounds N] [--seconds S] [prune options]

Metrics are those of each model's evaluate.py, by onnxruntime on the written file. Times: one thread, espalier's packed and dense model and
onnxruntime's dense one in turns, minima over the rounds. bandgru_trained_16x1_90 and bandgru384_trained_lpcnet, pruned in training, are packed.
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


def pack(program, folder, out, report, way, options):
    model, score = str(folder / "model.onnx"), f"{sys.executable} {folder.parent / 'evaluate.py'} {folder} --model {{model}} --value-only"
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
    """What onnxruntime's dynamic int8 makes of the model, scored as the others are, and its own milliseconds."""
    from onnxruntime.quantization import quantize_dynamic
    quantize_dynamic(str(folder / "model.onnx"), out)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    args, options = parser.parse_known_args()
    program = os.path.abspath(args.program)
    print("| model | metric, dense | what | metric | sparsity | file | of dense | times dense | times onnxruntime |\n|---|---|---|---|---|---|---|---|---|")
    for name in args.models.split(","):
        folder = Path(peer.need_shared("models", name, "model.onnx")).resolve().parent
        for way in ("convert",) if name in TRAINED else ("obs", "auto", "l2"):
            with tempfile.TemporaryDirectory() as temporary:
                out, report = os.path.join(temporary, "p.onnx"), os.path.join(temporary, "p.json")
                found = pack(program, folder, out, report, way, options)
                ours, dense, theirs = times(program, folder, out, args.rounds, args.seconds)
                size, before = os.path.getsize(out), os.path.getsize(folder / "model.onnx")
                metric = found["metric"]
                print(f"| {name} | {metric['a']:.4g} | {'pruned in training' if way == 'convert' else way} | {metric['b']:.4g} | {found['total']['zeros']:.3f} | "
                      f"{size} | {100 * size / before:.0f} % | {dense / ours:.2f}x | {theirs / ours:.2f}x |", flush=True)
        if name not in TRAINED:
            with tempfile.TemporaryDirectory() as temporary:
                out = os.path.join(temporary, "q.onnx")
                score = quantized(folder, out)
                theirs, int8 = least_times_of_peers(folder, [folder / "model.onnx", out], args.rounds, args.seconds)
                size, before = os.path.getsize(out), os.path.getsize(folder / "model.onnx")
                print(f"| {name} | {found['metric']['a']:.4g} | quantize_dynamic | {score:.4g} | 0 | {size} | {100 * size / before:.0f} % | - | "
                      f"{theirs / int8:.2f}x |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
