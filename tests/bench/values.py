#!/usr/bin/env python3
"""What narrower values cost and save: models of ../shared/models pruned in 16x1 blocks with calibration, and one pruned in training, with values of
each type; the metric is what onnxruntime makes of the packed file (each model's evaluate.py). Prints the table of docs/algorithms/values.md.

    values.py ESPALIER
"""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

TRAINED = "bandgru_trained_16x1_90"
CASES = [(name, sparsity) for name in ("mlp_digits", "gru_digits", "cnn_digits") for sparsity in ("0", "0.5", "0.7")] + [(TRAINED, None)]
TYPES = ("f32", "f16", "bf16", "i8")


def measure(program, name, sparsity, values, folder):
    """Metric, bytes of the file."""
    model, out = peer.need_shared("models", name, "model.onnx"), os.path.join(folder, "out.onnx")
    data = os.path.dirname(model)
    if name == TRAINED:
        peer.espalier(program, "convert", model, out, "--values", values)
    else:
        peer.espalier(program, "prune", model, out, "--block", "16x1", "--sparsity", sparsity, "--calib", os.path.join(data, "calib"), "--values", values)
    printed = subprocess.run([sys.executable, os.path.join(os.path.dirname(data), "evaluate.py"), data, "--model", out, "--value-only"],
                             capture_output=True, text=True, check=True).stdout
    return float(printed), os.path.getsize(out)


def main():
    program = os.path.abspath(sys.argv[1])
    print("| model | sparsity | " + " | ".join(TYPES) + " |\n|---|---|" + "---|" * len(TYPES))
    with tempfile.TemporaryDirectory() as folder:
        for name, sparsity in CASES:
            cells = [f"{metric:.4g}, {size} B" for metric, size in (measure(program, name, sparsity, values, folder) for values in TYPES)]
            print(f"| {name} | {'as trained' if sparsity is None else f'{100 * float(sparsity):.0f} %'} | " + " | ".join(cells) + " |", flush=True)


main()
