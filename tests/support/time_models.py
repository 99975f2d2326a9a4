#!/usr/bin/env python3
"""Time per call of two models in a reader, in turns within one process: milliseconds of each, and the largest relative difference of their outputs.

    time_models.py READER FIRST SECOND INPUTS.npz SECONDS

READER is tract (the one that Python finds: 0.21 to 0.23), onnxruntime, openvino or khronos. One thread. Prints JSON: first_ms, second_ms (least of
all calls), difference, first_load_s, second_load_s, version.
"""
import json
import os
import sys
import time

import numpy as np


class Tract:
    def __init__(self, path, feed):
        import run_tract
        import tract
        self.runnable = run_tract.load(path)
        self.inputs = list(feed.values())
        self.version = tract.version() if hasattr(tract, "version") else ""

    def call(self):
        return self.runnable.run(self.inputs)

    def outputs(self):
        return [output.to_numpy() for output in self.call()]


class Onnxruntime:
    def __init__(self, path, feed):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        for name, value in feed.items():
            self.binding.bind_cpu_input(name, value)
        for output in self.session.get_outputs():
            self.binding.bind_output(output.name)
        self.feed, self.version = feed, onnxruntime.__version__

    def call(self):
        self.session.run_with_iobinding(self.binding)

    def outputs(self):
        return self.session.run(None, self.feed)


class Openvino:
    def __init__(self, path, feed):
        import openvino
        # Its default on some processors is bf16: that is another computation.
        options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        self.request = openvino.Core().compile_model(path, "CPU", options).create_infer_request()
        for name, value in feed.items():
            self.request.set_tensor(name, openvino.Tensor(value, shared_memory=True))
        self.version = openvino.__version__

    def call(self):
        self.request.infer()

    def outputs(self):
        self.call()
        return [np.array(tensor.data) for tensor in self.request.output_tensors]


class Khronos:
    def __init__(self, path, feed):
        import re

        import nnef
        with open(os.path.join(path, "graph.nnef"), encoding="utf-8") as file:
            lowered = re.findall(r"^fragment (\w+)", file.read(), re.M)
        self.session = nnef.Session(path, stdlib="", lowered=lowered)
        self.inputs, self.version = list(feed.values()), "1.0.10"

    def call(self):
        return self.session(*self.inputs)

    outputs = call


READERS = {"tract": Tract, "onnxruntime": Onnxruntime, "openvino": Openvino, "khronos": Khronos}


def least(runs, seconds):
    """Least milliseconds of a call of each, a few calls of the one, then of the other."""
    times, end, rounds = [float("inf")] * len(runs), time.perf_counter() + seconds, 0
    while rounds < 3 or time.perf_counter() < end:
        for i, run in enumerate(runs):
            for _ in range(5):
                start = time.perf_counter()
                run.call()
                times[i] = min(times[i], 1000 * (time.perf_counter() - start))
                if time.perf_counter() > end + 5 * seconds and rounds:
                    break
        rounds += 1
    return times


def main(reader, first, second, inputs, seconds):
    with np.load(inputs) as arrays:
        feed = {name: np.ascontiguousarray(arrays[name]) for name in arrays.files}
    runs, loads = [], []
    for path in (first, second):
        start = time.perf_counter()
        runs.append(READERS[reader](path, feed))
        loads.append(time.perf_counter() - start)
    expected, found = (run.outputs() for run in runs)
    difference = max(float(np.abs(np.asarray(a, np.float64) - b).max() / max(np.abs(a).max(), 1e-12)) for a, b in zip(expected, found, strict=True))
    times = least(runs, float(seconds))
    print(json.dumps({"first_ms": times[0], "second_ms": times[1], "difference": difference, "first_load_s": loads[0], "second_load_s": loads[1], "version": runs[0].version}))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:  # noqa: BLE001
        sys.exit(" ".join(str(error).split("Stack backtrace")[0].split())[-700:])
