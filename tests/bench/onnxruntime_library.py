#!/usr/bin/env python3
"""Packed models inside onnxruntime with libespalier_onnxruntime.so, next to onnxruntime's dense run of the same model: one thread, io_binding,
interleaved within one run.

    onnxruntime_library.py ESPALIER [--rounds N] [--seconds S] [--only NAME;..] [--deepsparse PYTHON] [--memory]

Weights are pruned to 90 % of 16x1 blocks at random (speed does not ask which), those of models that were pruned in training packed as they are.
`region`: the whole graph is one node that espalier's runtime runs; `operator`: a node for each operator with packed weights. `node` is a session
of one trivial node: what any model pays. The expectation is 0.85 of dense / (node + ours), where espalier's own packed run is at least 1.3 times
as fast as the dense one. `node, in turns`: the same node where espalier's own packed run comes before each of its runs, which leaves other data and
code in the caches: what a session of the region cannot do without. Milliseconds are medians over the rounds' minima. --memory prints instead the packed bytes, what the library has allocated
once the session is there and once it has run, and what the process grows by while it loads the file and runs it once, with the library and without.
--deepsparse as in packed_models.py.
"""
import argparse
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dense_models  # noqa: E402
import packed_models  # noqa: E402

SHARE, OWN, MEMORY = 0.85, 1.3, 1.3
TOKENS = 128
# name -> folder of ../shared/models, free axes cut for a step, packed as it is
ROWS = {name: (folder, step, False) for name, (folder, step) in dense_models.MODELS.items()}
ROWS |= {"bandgru_trained": ("bandgru_trained_16x1_90", {}, True), "bandgru_trained step": ("bandgru_trained_16x1_90", {"*": 2}, True),
         "bandgru384_lpcnet": ("bandgru384_trained_lpcnet", {}, True), "bandgru384_lpcnet step": ("bandgru384_trained_lpcnet", {"*": 2}, True),
         "MiniLM, 128 tokens": ("paraphrase_minilm_l3", {}, False)}


class Session(dense_models.Peer):
    """Peer with espalier's operators."""

    def __init__(self, model, feed, library=None):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if library:
            options.register_custom_ops_library(library)
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        for name, array in feed.items():
            self.binding.bind_cpu_input(name, array)
        for output in self.session.get_outputs():
            self.binding.bind_output(output.name)

    def outputs(self):
        self.session.run_with_iobinding(self.binding)
        return self.binding.copy_outputs_to_cpu()


def trivial():
    value = helper.make_tensor_value_info
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "node", [value("x", TensorProto.FLOAT, [1])], [value("y", TensorProto.FLOAT, [1])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


class Ours:
    """espalier's own run of a packed file in this process, by the C interface."""

    def __init__(self, library, model, feed):
        self.c = ctypes.CDLL(library)
        self.c.espalier_last_error.restype = ctypes.c_char_p
        opened, self.handle = ctypes.c_void_p(), ctypes.c_void_p()
        self.check(self.c.espalier_model_open(model.encode(), ctypes.byref(opened)))
        self.check(self.c.espalier_session_create(opened, None, ctypes.byref(self.handle)))
        self.feed = {name: np.array(array, order="C") for name, array in feed.items()}
        for name, array in self.feed.items():
            extents = (ctypes.c_int64 * array.ndim)(*array.shape)
            self.check(self.c.espalier_session_bind_input(self.handle, name.encode(), ctypes.c_size_t(array.ndim), extents, ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)))

    def check(self, status):
        if status != 0:
            raise RuntimeError(self.c.espalier_last_error().decode())

    def __call__(self):
        self.check(self.c.espalier_session_run(self.handle))


def in_turns(first, then, seconds):
    """Milliseconds of the shortest run of `then`, `first` before each."""
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        first()
        start = time.perf_counter()
        then()
        best = min(best, time.perf_counter() - start)
    return best * 1e3


class Trivial(Session):
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(trivial(), options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        self.binding.bind_cpu_input("x", np.zeros(1, np.float32))
        self.binding.bind_output("y")


def feed_of(name, models):
    folder, step, _ = ROWS[name]
    feed = dense_models.feed_of(models / folder / "model.onnx", models / folder, step)
    if "tokens" in name:
        random = np.random.default_rng(0)
        feed = {"input_ids": random.integers(1, 2000, (1, TOKENS)), "attention_mask": np.ones((1, TOKENS), np.int64)}
    return feed


def pack(program, model, folder, as_it_is):
    """Files of both profiles, with the same weights."""
    packed = {profile: os.path.join(folder, f"{profile}.onnx") for profile in ("inline", "operator", "region")}
    packed_models.pack(program, model, packed["inline"], as_it_is, os.path.join(folder, "report.json"))
    for profile in ("operator", "region"):
        subprocess.run([program, "convert", packed["inline"], packed[profile], "--profile", profile, "--pack", "none", "--no-verify", "-q"], check=True, capture_output=True)
    return packed


def measure(args, name, folder, models):
    source, _, as_it_is = ROWS[name]
    model, feed = models / source / "model.onnx", feed_of(name, models)
    packed = pack(args.program, model, folder, as_it_is)
    inputs = os.path.join(folder, "inputs")
    os.makedirs(inputs)
    dense_models.write_feed(feed, inputs)
    sessions = {"dense": Session(model, feed), "node": Trivial(), "region": Session(packed["region"], feed, args.library),
                "operator": Session(packed["operator"], feed, args.library), "stock": Session(packed["region"], feed)}
    engine = packed_models.start_deepsparse(args, packed["inline"], feed, folder)
    ours = Ours(args.own, packed["inline"], feed)
    times = {kind: [] for kind in (*sessions, "ours", "node in turns", *(["deepsparse"] if engine else []))}
    for _ in range(args.rounds):
        times["ours"].append(dense_models.bench(args.program, packed["inline"], inputs, args.seconds)["models"][0]["min_ms"])
        for kind, session in sessions.items():
            times[kind].append(session.milliseconds(args.seconds)[1])
        node = sessions["node"]
        times["node in turns"].append(in_turns(ours, lambda: node.session.run_with_iobinding(node.binding), args.seconds))
        if engine:
            times["deepsparse"].append(engine.milliseconds(args.seconds))
    if engine:
        engine.close()
    t = {kind: statistics.median(values) for kind, values in times.items()}
    found, expected = t["dense"] / t["region"], SHARE * t["dense"] / (t["node"] + t["ours"])
    judged = t["dense"] / t["ours"] >= OWN
    said = ("met" if found >= expected else "short") if judged else "-"
    columns = [t[kind] for kind in ("dense", "node", "node in turns", "ours", "region", "operator", "stock")]
    print(f"| {name} | " + " | ".join(f"{value:.4g}" for value in columns) + f" | {found:.2f}x | {t['dense'] / t['operator']:.2f}x | {expected:.2f}x | {said} |" +
          (f" {t['dense'] / t['deepsparse']:.2f}x |" if engine else " - |" if args.deepsparse else ""), flush=True)
    return said != "short"


def resident():
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) * 1024


def grown(path, library, feed, counter=None):
    """Bytes by which a process of its own grows while it loads the file and runs it once; with a counter what the library holds before the run and after."""
    environment = os.environ | ({"LD_PRELOAD": counter, "COUNT_LIBRARY": "libespalier"} if counter else {})
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file.name, **feed)
        done = subprocess.run([sys.executable, os.path.abspath(__file__), "--grow", path, library or "", file.name], check=True, capture_output=True, text=True, env=environment)
    return [int(number) for number in done.stdout.split()]


def grow(path, library, feed_path):
    with np.load(feed_path) as arrays:
        feed = {name: arrays[name] for name in arrays.files}
    Trivial().outputs()
    counts = []
    if os.environ.get("COUNT_LIBRARY"):
        onnxruntime.SessionOptions().register_custom_ops_library(library)
        counter = ctypes.CDLL(None)
        counter.counted_bytes.restype = ctypes.c_size_t
        if not counter.count_from_now():
            raise RuntimeError(f"{library} is not loaded")
        counts = [counter.counted_bytes]
    before = resident()
    session = Session(path, feed, library)
    found = [count() for count in counts]
    session.outputs()
    found += [count() for count in counts]
    print(*(found or [resident() - before]))


def memory(args, name, folder, models):
    source, _, as_it_is = ROWS[name]
    model, feed = str(models / source / "model.onnx"), feed_of(name, models)
    packed = pack(args.program, model, folder, as_it_is)
    counter = os.path.join(folder, "count.so")
    subprocess.run(["cc", "-O1", "-std=c11", "-shared", "-fPIC", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support/count_library.c"), "-o", counter], check=True)
    parts = sum(len(t.raw_data) for t in onnx.load(packed["inline"]).graph.initializer if t.name.endswith(("/values", "/index", "/scale", "/diagonal")))
    loaded, ran = grown(packed["region"], args.library, feed, counter)
    columns = [os.path.getsize(model), parts, loaded, ran, *grown(model, None, feed), *grown(packed["region"], None, feed), *grown(packed["region"], args.library, feed)]
    print(f"| {name} | " + " | ".join(f"{value / 1024:.0f}" for value in columns) + f" | {loaded / parts:.2f} |", flush=True)
    return loaded <= MEMORY * parts


def main():
    if sys.argv[1:2] == ["--grow"]:
        return grow(*sys.argv[2:5])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--only", default="", help="rows, divided by semicolons")
    parser.add_argument("--deepsparse", default="", help="a Python that has it")
    parser.add_argument("--memory", action="store_true")
    args = parser.parse_args()
    args.program = os.path.abspath(args.program)
    args.library, args.own = (os.path.join(os.path.dirname(args.program), f"../lib/{name}.so") for name in ("libespalier_onnxruntime", "libespalier"))
    models = dense_models.shared_models()
    if not models.exists() or not os.path.exists(args.library):
        print(f"skipped: {models} or {args.library} is not there")
        return 77
    if args.memory:
        print("KiB\n| model | dense file | packed bytes | library holds | after a run | process grows: dense | packed, stock | packed, with the library | holds / packed |\n"
              "|---|---|---|---|---|---|---|---|---|")
    else:
        print(f"one thread, {args.rounds} rounds of {args.seconds} s, onnxruntime {onnxruntime.__version__}; ms")
        more = (" DeepSparse |", "---|") if args.deepsparse else ("", "")
        print(f"| model | dense | node | node, in turns | ours | region | operator | without the library | region over dense | operator over dense | expected | |{more[0]}\n"
              f"|---|---|---|---|---|---|---|---|---|---|---|---|{more[1]}")
    names = args.only.split(";") if args.only else list(ROWS)
    met = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            met += (memory if args.memory else measure)(args, name, folder, models)
    print(f"{met} of {len(names)} as expected")
    return 0


if __name__ == "__main__":
    sys.exit(main())
