#!/usr/bin/env python3
"""Unstructured and 2:4 pruning next to onnxsim 0.8.1, with the same calibration inputs and the same evaluation.

    onnxsim_side_by_side.py ESPALIER [--models A,B] [--sparsity .5,.7]

Both prune the models of ../shared/models; each result is scored by the model's evaluate.py (onnxruntime). onnxsim's column is the best of its
magnitude, wanda and sparsegpt pruning, the first two also with one threshold over all layers, each with and without its closed-form
fine-tuning; ours the best of wanda, sparsegpt and, for narrow models, obs, all with refit and a sensitivity scan. onnxsim is installed into build/onnxsim, apart from the other test peers.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / "build/onnxsim"
PACKAGES = ["onnxsim==0.8.1", "onnx==1.23.2", "onnxruntime==1.32.0", "numpy==2.2.6"]
MODELS = {"mlp_digits": ["wanda", "sparsegpt", "obs"], "cnn_digits": ["wanda", "sparsegpt"], "paraphrase_minilm_l3": ["wanda", "sparsegpt"]}


def in_own_venv():
    """Runs this script again with onnxsim at hand."""
    python = VENV / "bin/python"
    if Path(sys.prefix) == VENV:
        return
    if not python.exists():
        venv.create(VENV, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    os.execv(python, [str(python), *sys.argv])


def score(folder, model):
    done = subprocess.run([sys.executable, folder.parent / "evaluate.py", folder, "--model", model, "--value-only"], capture_output=True, text=True, check=True)
    return float(done.stdout)


def batches(folder, size=32):
    import numpy
    arrays = {path.stem[len("input_"):]: numpy.load(path) for path in sorted((folder / "calib").glob("input_*.npy"))}
    count = len(next(iter(arrays.values())))
    return [{name: array[i:i + size] for name, array in arrays.items()} for i in range(0, count, size)]


def theirs(folder, out, how):
    """Best metric of onnxsim's ways, and which it was."""
    import onnx
    import onnxsim
    model, data = onnx.load(folder / "model.onnx"), batches(folder)
    ways = {"magnitude": lambda: onnxsim.apply_magnitude_pruning(model, **how),
            "wanda": lambda: onnxsim.apply_wanda_pruning(model, calibration_data=data, **how),
            "sparsegpt": lambda: onnxsim.apply_sparsegpt_pruning(model, calibration_data=data, **how)}
    if "n" not in how:
        ways["magnitude, global"] = lambda: onnxsim.apply_magnitude_pruning(model, global_sparsity=True, **how)
        ways["wanda, global"] = lambda: onnxsim.apply_wanda_pruning(model, calibration_data=data, global_sparsity=True, **how)
    found = {}
    for name, way in ways.items():
        pruned = way()
        onnx.save(pruned, out)
        found[name] = score(folder, out)
        # Its fine-tuning writes zeros over too; only what keeps them counts.
        tuned = onnxsim.apply_pruning_finetune(model, pruned, calibration_data=data)
        if zeros(tuned) >= 0.99 * zeros(pruned):
            onnx.save(tuned, out)
            found[f"{name}, tuned"] = score(folder, out)
    best = max(found, key=found.get)
    return found[best], best


def zeros(model):
    from onnx import numpy_helper
    return sum(int((numpy_helper.to_array(w) == 0).sum()) for w in model.graph.initializer)


def ours(program, folder, out, methods, options):
    found = {}
    for method in methods:
        subprocess.run([program, "prune", folder / "model.onnx", out, "--calib", folder / "calib", "--method", method, "--profile", "dense", "--no-verify",
                        "-q", *options], check=True, capture_output=True)
        found[method] = score(folder, out)
    best = max(found, key=found.get)
    return found[best], best


def main():
    in_own_venv()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--sparsity", default="0.5,0.7,0.8,0.9")
    args = parser.parse_args()
    program = os.path.abspath(args.program)
    models = Path(os.environ.get("ESPALIER_SHARED") or ROOT.parent / "shared") / "models"
    print("| model | pattern | onnxsim, best | which | espalier | which |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        out = os.path.join(temporary, "p.onnx")
        for name in args.models.split(","):
            folder, methods = models / name, MODELS[name]
            rows = [(f"{float(s):.0%}", {"sparsity": float(s)}, ["--block", "1x1", "--sparsity", s, "--scope", "sensitivity"]) for s in args.sparsity.split(",")]
            rows.append(("2:4", {"n": 2, "m": 4}, ["--nm", "2:4", "--scope", "layer"]))
            for pattern, how, options in rows:
                best, which = theirs(folder, out, how)
                mine, method = ours(program, folder, out, methods, options)
                print(f"| {name} | {pattern} | {best:.3f} | {which} | {mine:.3f} | {method} |", flush=True)


if __name__ == "__main__":
    main()
