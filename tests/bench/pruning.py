#!/usr/bin/env python3
"""Accuracy of the models of ../shared/models pruned by all methods, scored by onnxruntime on labelled data (each model's evaluate.py metric).

    pruning.py ESPALIER [--models A,B] [--sparsity .5,.7] [--ways l2,obs-global] [--block 16x1] [--json F]
    pruning.py --table F                                  the Markdown tables of docs/algorithms/results.md from such a file

One row per way, one column per sparsity; prune's calibration inputs are those of calib/ alone. `l2` is magnitude without data.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

MODELS = {"mlp_digits": [], "gru_digits": [], "cnn_digits": [], "bandgru_denoise": [], "paraphrase_minilm_l3": [], "magika_v3_3": [],
          "silero_vad_16k_sequence": ["--fill", "h=0", "--fill", "c=0"], "ppocrv4_rec": []}
# `default` is what prune --calib does by itself; the others prune all layers at once (--effort fast) or in order, as their names say.
WAYS = {"l2": None,
        "l2-refit": ["--method", "l2", "--scope", "layer"],
        "wanda": ["--method", "wanda", "--scope", "layer"],
        "sparsegpt": ["--method", "sparsegpt", "--scope", "layer"],
        "obs-layer": ["--method", "obs", "--scope", "layer"],
        "obs-global": ["--method", "obs", "--scope", "global"],
        "obs-global-seq": ["--method", "obs", "--scope", "global", "--sequential"],
        "obs-sens": ["--method", "obs", "--scope", "sensitivity"],
        "obs-sens-seq": ["--method", "obs", "--scope", "sensitivity", "--sequential"],
        "default": []}


def score(program, name, way, sparsity, options, folder):
    """The model's metric and the seconds that pruning took; no metric where the program refused, with its words."""
    model, out = peer.need_shared("models", name, "model.onnx"), os.path.join(folder, "p.onnx")
    data = os.path.dirname(model)
    how = ["--method", "l2"] if WAYS[way] is None else ["--calib", os.path.join(data, "calib"), *WAYS[way], *MODELS[name]]
    if WAYS[way]:
        how += ["--effort", "fast"]
    start = time.time()
    done = subprocess.run([program, "prune", model, out, "--profile", "dense", "--no-verify", "-q", "--sparsity", sparsity, *how, *options],
                          capture_output=True, text=True)
    seconds = time.time() - start
    if done.returncode != 0:
        return None, seconds, done.stderr.strip().splitlines()[-1]
    printed = subprocess.run([sys.executable, os.path.join(os.path.dirname(data), "evaluate.py"), data, "--model", out, "--value-only"],
                             capture_output=True, text=True, check=True).stdout
    return float(printed), seconds, ""


def print_tables(path):
    with open(path, encoding="utf-8") as file:
        found = json.load(file)
    models = list(dict.fromkeys(one["model"] for one in found))
    for name in models:
        mine = [one for one in found if one["model"] == name]
        levels, ways = sorted({one["sparsity"] for one in mine}), list(dict.fromkeys(one["way"] for one in mine))
        print(f"\n| {name} | " + " | ".join(f"{100 * level:.0f} %" for level in levels) + " | seconds |\n|---|" + "---|" * (len(levels) + 1))
        best = {level: max(one["metric"] or 0 for one in mine if one["sparsity"] == level) for level in levels}
        for way in ways:
            row = {one["sparsity"]: one for one in mine if one["way"] == way}
            cells = [f"**{row[level]['metric']:.4g}**" if row[level]["metric"] == best[level] else f"{row[level]['metric']:.4g}" for level in levels]
            print(f"| {way} | " + " | ".join(cells) + f" | {max(one['seconds'] for one in row.values()):.1f} |")


def main():
    if sys.argv[1:2] == ["--table"]:
        return print_tables(sys.argv[2])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--sparsity", default="0.5,0.7,0.8")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--json")
    args, options = parser.parse_known_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.models.split(","):
            with open(peer.need_shared("models", name, "eval.json"), encoding="utf-8") as file:
                info = json.load(file)
            print(f"\n{name}: {info['metric']} of the dense model {next(iter(info['dense_score'].values())) if isinstance(info['dense_score'], dict) else info['dense_score']}", flush=True)
            for way in args.ways.split(","):
                cells = []
                for sparsity in args.sparsity.split(","):
                    value, seconds, error = score(os.path.abspath(args.program), name, way, sparsity, options, folder)
                    found.append({"model": name, "way": way, "sparsity": float(sparsity), "metric": value, "seconds": seconds, "error": error})
                    cells.append(error or f"{value:7.4f} {seconds:5.1f} s")
                print(f"  {way:16}" + "   ".join(cells), flush=True)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)


main()
