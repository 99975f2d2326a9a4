#!/usr/bin/env python3
"""Scores a band-gain denoiser: signal-to-distortion ratio of the denoised band amplitudes, in dB, higher is better.

    band_sdr.py MODEL                       run by espalier (any format that it reads)
    band_sdr.py MODEL --runtime onnxruntime or tract
    band_sdr.py --noisy                     the score of doing nothing (gain 1)

Per clip 10 log10(sum clean^2 / sum (gain * noisy - clean)^2), mean over the clips of eval/. Prints one number with six decimals: the order in which a
runtime adds its f32 products moves the ninth.
The program is build/release/bin/espalier, or what the variable ESPALIER names.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ESPALIER = os.environ.get("ESPALIER") or os.path.join(HERE, "../../build/release/bin/espalier")


def array(name):
    return np.load(f"{HERE}/eval/{name}.npy")


def run_espalier(model):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([ESPALIER, "run", model, "--inputs", f"{HERE}/eval/input_bands.npy", "-o", folder, "-q"],
                       check=True, stdout=subprocess.DEVNULL)
        outputs = os.listdir(folder)
        if len(outputs) != 1:
            raise ValueError(f"one output was expected, there are {len(outputs)}")
        return np.load(os.path.join(folder, outputs[0]))


def run_onnxruntime(model):
    import onnxruntime
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: array("input_bands")})[0]


def run_tract(model):
    import tract
    runnable = tract.nnef().load(model).into_runnable()
    return np.concatenate([runnable.run([clip[None]])[0].to_numpy() for clip in array("input_bands")])


RUNTIMES = {"espalier": run_espalier, "onnxruntime": run_onnxruntime, "tract": run_tract}


def sdr_db(gains):
    clean, noisy = array("clean_amp").astype(np.float64), array("noisy_amp").astype(np.float64)
    gains = np.asarray(gains, np.float64).reshape(noisy.shape)
    if not np.isfinite(gains).all():
        raise ValueError("the model's output has values that are not finite")
    error = gains * noisy - clean
    return float((10 * np.log10((clean**2).sum((1, 2)) / (error**2).sum((1, 2)))).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--runtime", choices=RUNTIMES, default="espalier")
    parser.add_argument("--noisy", action="store_true")
    args = parser.parse_args()
    if not args.noisy and args.model is None:
        parser.error("name a model, or --noisy")
    try:
        gains = np.ones_like(array("noisy_amp")) if args.noisy else RUNTIMES[args.runtime](args.model)
        print(f"{sdr_db(gains):.6f}")
    except (OSError, ValueError, RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {args.model}: {error}")


if __name__ == "__main__":
    main()
