#!/usr/bin/env python3
"""The wheel's Session next to the program's bench, and onnxruntime with the wheel's library next to plain onnxruntime: one thread, interleaved.

    python_session.py ESPALIER [--rounds N] [--seconds S]

Run it with the Python of scripts/setup --python after tests/python/run. A step of bandgru_trained_16x1_90: Session with bound buffers is expected
within 10 % of bench, onnxruntime with the library at least 3 times as fast as without it. MiniLM L3, 90 % zeros in random 16x1 blocks, 128 tokens:
at least 3.5 times. Microseconds are medians over the rounds' minima.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import timeit

import espalier
import numpy as np
import onnxruntime

SHARED = pathlib.Path(os.environ.get("ESPALIER_SHARED") or pathlib.Path(__file__).resolve().parents[2] / "../shared")


def microseconds(call, seconds):
    """The shortest run within some seconds. Short runs are timed in groups, as timeit does: reading Python's clock takes 0.13 us, bench's 0.03."""
    once = timeit.timeit(call, number=1)
    group = 1 if once > 1e-3 else 16
    timer = timeit.Timer(call)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        best = min(best, timer.timeit(group) / group)
    return best * 1e6


def bench(program, model, folder, seconds):
    out = subprocess.run([program, "bench", model, "--inputs", folder, "--threads", "1", "--warmup", "0.1", "--seconds", str(seconds), "--json", "-"], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)["models"][0]["min_ms"] * 1e3


def peer(model, feed, library):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if library:
        options.register_custom_ops_library(espalier.onnxruntime_library())
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_cpu_input(name, array)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return lambda: session.run_with_iobinding(binding)


def measure(args, model, packed, feed, folder):
    """Medians of bench, Session, plain onnxruntime and onnxruntime with the library."""
    inputs = os.path.join(folder, "inputs")
    os.mkdir(inputs)
    for name, array in feed.items():
        np.save(os.path.join(inputs, f"input_{name}.npy"), array)
    region = os.path.join(folder, "region.onnx")
    espalier.convert(packed, region, profile="region", no_verify=True)
    calls = {"plain": peer(model, feed, False), "library": peer(region, feed, True)}
    times = {kind: [] for kind in ("bench", "session", *calls)}
    for _ in range(args.rounds):
        times["bench"].append(bench(args.program, packed, inputs, args.seconds))
        session = espalier.Session(packed)  # a new one, as bench's: a step takes up to 5 % more where its memory happens to lie unluckily
        for name, array in feed.items():
            session.bind_input(name, array.copy())
        times["session"].append(microseconds(session.step, args.seconds))
        for kind, call in calls.items():
            times[kind].append(microseconds(call, args.seconds))
    return {kind: statistics.median(values) for kind, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    args = parser.parse_args()
    if not SHARED.exists():
        print("skipped: ../shared is absent")
        return 77
    random = np.random.default_rng(0)
    rows = {"bandgru_trained step": ("bandgru_trained_16x1_90", {"bands": random.standard_normal((1, 1, 32)).astype(np.float32)}, 3.0),
            "MiniLM L3, 128 tokens": ("paraphrase_minilm_l3", {"input_ids": random.integers(1, 2000, (1, 128)), "attention_mask": np.ones((1, 128), np.int64)}, 3.5)}
    print(f"| model | bench | Session | over bench | onnxruntime {onnxruntime.__version__} | with the library | | expected |\n|---|---|---|---|---|---|---|---|")
    short = 0
    for label, (name, feed, least) in rows.items():
        with tempfile.TemporaryDirectory() as folder:
            model, packed = str(SHARED / "models" / name / "model.onnx"), os.path.join(folder, "packed.onnx")
            if "trained" in name:
                espalier.convert(model, packed, no_verify=True)
            else:
                espalier.prune(model, packed, sparsity=0.9, block="16x1", method="random", no_verify=True)
            t = measure(args, model, packed, feed, folder)
            short += t["session"] > 1.1 * t["bench"] or t["plain"] < least * t["library"]
            print(f"| {label} | {t['bench']:.1f} | {t['session']:.1f} | {t['session'] / t['bench']:.2f} | {t['plain']:.1f} | {t['library']:.1f} | {t['plain'] / t['library']:.2f}x | {least}x |", flush=True)
    print("all as expected" if not short else f"{short} short")
    return 0


if __name__ == "__main__":
    sys.exit(main())
