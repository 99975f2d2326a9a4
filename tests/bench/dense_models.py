#!/usr/bin/env python3
"""Dense speed of whole models, one thread, espalier and onnxruntime in turns within one run.

    dense_models.py ESPALIER [--rounds N] [--seconds S] [--only NAME,..] [--profile]

Each round gives both programs S seconds per model; a row holds the medians over the rounds of each program's median, and their minima. The
ratio is that of the minima of both: what other work on the machine adds is never negative. Models come from ../shared/models (or
$ESPALIER_SHARED/models), inputs from their test_data_set_0; rows that end in "step" are one step of a stream (batch 1, sequence 1).
--profile prints the share of time per operator kind of both.
"""
import argparse
import collections
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

TARGET = 1.15
# name -> folder, and the axes of inputs that are cut to their first element for one step of a stream
MODELS = {
    "mlp": ("mlp_digits", {}),
    "cnn": ("cnn_digits", {}),
    "gru": ("gru_digits", {}),
    "bandgru": ("bandgru_denoise", {}),
    "bandgru step": ("bandgru_denoise", {"*": 2}),
    "silero": ("silero_vad_16k_sequence", {}),
    "silero step": ("silero_vad_16k_op15", {}),
    "dtln step": ("dtln_1", {}),
    "magika": ("magika_v3_3", {}),
    "MiniLM": ("paraphrase_minilm_l3", {}),
    "PP-OCR rec": ("ppocrv4_rec", {}),
    "PP-OCR det": ("ppocrv4_det", {}),
}


def shared_models():
    default = Path(__file__).resolve().parents[2].parent / "shared"
    return Path(os.environ.get("ESPALIER_SHARED", default)) / "models"


def feed_of(model, folder, step):
    """Input name -> array of test_data_set_0; for a step, the axes 0 .. n-1 of what is free there have extent 1."""
    graph = onnx.load(model, load_external_data=False).graph
    stored = {weight.name for weight in graph.initializer}
    feed = {}
    for i, value in enumerate(v for v in graph.input if v.name not in stored):
        proto = onnx.load_tensor(str(folder / "test_data_set_0" / f"input_{i}.pb"))
        array = numpy_helper.to_array(proto)
        dims = value.type.tensor_type.shape.dim
        for axis in range(min(step.get("*", 0), array.ndim)):
            if not dims[axis].HasField("dim_value"):
                array = np.take(array, [0], axis=axis)
        feed[value.name] = array.copy(order="C")
    return feed


def write_feed(feed, folder):
    """The folder of a test_data_set: espalier's --inputs."""
    for i, (name, array) in enumerate(feed.items()):
        onnx.save_tensor(numpy_helper.from_array(array, name), os.path.join(folder, f"input_{i}.pb"))


class Peer:
    def __init__(self, model, feed, profile=False):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_profiling = profile
        if profile:
            options.profile_file_prefix = tempfile.mktemp(prefix="espalier_ort_")
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        # Bound like espalier's inputs: neither side pays for maps and copies.
        self.binding = self.session.io_binding()
        for name, array in feed.items():
            self.binding.bind_cpu_input(name, array)
        for output in self.session.get_outputs():
            self.binding.bind_output(output.name)

    def milliseconds(self, seconds):
        run, times = self.session.run_with_iobinding, []
        for _ in range(3):
            run(self.binding)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 3:
            start = time.perf_counter()
            run(self.binding)
            times.append(1000 * (time.perf_counter() - start))
        return statistics.median(times), min(times)

    def shares(self):
        self.milliseconds(0.5)
        file = self.session.end_profiling()
        sums = collections.Counter()
        for event in json.loads(Path(file).read_text()):
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                sums[event["args"]["op_name"]] += event["dur"]
        os.remove(file)
        return sums


def bench(program, model, inputs, seconds, *options):
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        subprocess.run([program, "bench", model, "--inputs", inputs, "--threads", "1", "--warmup", "0.1", "--seconds", str(seconds), "-q",
                        "--json", report.name, *options], check=True, stdout=subprocess.DEVNULL)
        return json.loads(Path(report.name).read_text())


def our_shares(program, model, inputs):
    sums = collections.Counter()
    for one in bench(program, model, inputs, 0.1, "--profile-ops")["operators"]:
        sums[one["operator"]] += one["ms"]
    return sums


def shares_text(sums):
    total = sum(sums.values()) or 1
    return ", ".join(f"{op} {100 * value / total:.0f} %" for op, value in sums.most_common(7))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    models = shared_models()
    if not models.exists():
        print(f"skipped: {models} is not there")
        return 77
    wanted = args.only.split(",") if args.only else list(MODELS)
    print(f"one thread, {args.rounds} rounds of {args.seconds} s, onnxruntime {onnxruntime.__version__}; ms")
    print("| model | ours, median | onnxruntime, median | ours, min | onnxruntime, min | ratio |\n|---|---|---|---|---|---|")
    worst = 0
    for name in wanted:
        folder_name, step = MODELS[name]
        folder = models / folder_name
        feed = feed_of(folder / "model.onnx", folder, step)
        with tempfile.TemporaryDirectory() as inputs:
            write_feed(feed, inputs)
            peer = Peer(folder / "model.onnx", feed)
            ours, theirs = [], []
            for _ in range(args.rounds):
                timing = bench(args.program, folder / "model.onnx", inputs, args.seconds)["models"][0]
                ours.append((timing["median_ms"], timing["min_ms"]))
                theirs.append(peer.milliseconds(args.seconds))
            row = [statistics.median(t[0] for t in ours), statistics.median(t[0] for t in theirs), min(t[1] for t in ours),
                   min(t[1] for t in theirs)]
            ratio = row[2] / row[3]
            worst = max(worst, ratio)
            print(f"| {name} | " + " | ".join(f"{value:.4g}" for value in row) + f" | {ratio:.2f}x |", flush=True)
            if args.profile:
                print(f"    ours: {shares_text(our_shares(args.program, folder / 'model.onnx', inputs))}")
                print(f"    onnxruntime: {shares_text(Peer(folder / 'model.onnx', feed, True).shares())}", flush=True)
    print(f"worst ratio {worst:.2f}x, target {TARGET}x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
