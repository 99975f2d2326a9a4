#!/usr/bin/env python3
"""libespalier_onnxruntime.so in a stock onnxruntime: files of profiles operator and region with and without the library, at every optimisation
level, against espalier's own runtime. Each operator with attributes and optional inputs given and left out; whole models; several sessions and
threads; broken indices.

onnxruntime_library_test.py ESPALIER
"""
import ctypes
import os
import subprocess
import sys
import tempfile
import threading

import numpy as np
import onnx
from onnx import helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

TOLERANCE = 2e-5  # of the largest output: sums in another order
MODELS = ("mlp_digits", "cnn_digits", "gru_digits", "bandgru_denoise", "bandgru_trained_16x1_90", "silero_vad_16k_op15")
RANDOM = np.random.default_rng(11)
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")


def session(path, library=None, level="ORT_ENABLE_ALL", threads=1):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    if library:
        options.register_custom_ops_library(library)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def values(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


class Case:
    """A model of one operator: names and arrays of weights, shapes of inputs, "" for an input that is left out."""

    def __init__(self, op, inputs, weights, feeds, outputs=("y",), block="16x1", function=None, **attributes):
        self.op, self.inputs, self.weights, self.feeds, self.outputs, self.block = op, inputs, weights, feeds, outputs, block
        self.function = function or f"BlockSparse{op}"
        self.attributes = attributes

    def __str__(self):
        return f"{self.function} {self.attributes} inputs {','.join(self.inputs)} block {self.block}"

    def save(self, path):
        declared = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for name, x in self.feeds.items()]
        results = [helper.make_tensor_value_info(name, 1, None) for name in self.outputs if name]
        graph = helper.make_graph([helper.make_node(self.op, self.inputs, self.outputs, **self.attributes)], "case", declared, results,
                                  [numpy_helper.from_array(array, name) for name, array in self.weights.items()])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(onnx.shape_inference.infer_shapes(made), path)


def recurrent(op, gates, directions=1, optional=(), outputs=("y", "y_h"), function=None, packed="wr", **attributes):
    hidden, inside, steps, batch = 32, 24, 5, 3
    weights = {"w": values(directions, gates * hidden, inside), "r": values(directions, gates * hidden, hidden) * 0.3, "b": values(directions, 2 * gates * hidden)}
    feeds = {"x": values(steps, batch, inside)}
    names = ["x", "w", "r", "b" if "b" in optional else ""]
    if "b" not in optional:
        del weights["b"]
    if "lens" in optional or "h" in optional or "c" in optional:
        names.append("lens" if "lens" in optional else "")
    if "lens" in optional:
        feeds["lens"] = np.array([5, 2, 4], np.int32)
    if "h" in optional or "c" in optional:
        names.append("h")
        feeds["h"] = values(directions, batch, hidden)
    if "c" in optional:
        names.append("c")
        feeds["c"] = values(directions, batch, hidden)
    while names[-1] == "":
        names.pop()
    case = Case(op, names, weights, feeds, outputs, function=function, hidden_size=hidden, **attributes)
    case.only = {"wr": None, "w": "w", "r": "r"}[packed]
    return case


def cases():
    m = dict(w=values(24, 48))
    yield Case("MatMul", ["x", "w"], m, dict(x=values(5, 24)))
    yield Case("MatMul", ["x", "w"], m, dict(x=values(2, 3, 24)), block="5x3")
    yield Case("MatMul", ["x", "w"], dict(w=values(3, 24, 48)), dict(x=values(3, 5, 24)))
    yield Case("MatMul", ["w", "x"], dict(w=values(48, 24)), dict(x=values(24, 5)), function="BlockSparseMatMulLeft")
    yield Case("Gemm", ["x", "w"], m, dict(x=values(5, 24)))
    yield Case("Gemm", ["x", "w", "b"], dict(w=values(48, 24), b=values(48)), dict(x=values(5, 24)), transB=1, alpha=0.5, beta=2.0)
    yield Case("Gemm", ["x", "w", "b"], dict(w=values(45, 22)), dict(x=values(22, 5), b=values(5, 45)), transB=1, transA=1)
    yield Case("Conv", ["x", "w"], dict(w=values(32, 8, 3)), dict(x=values(2, 8, 21)))
    yield Case("Conv", ["x", "w", "b"], dict(w=values(32, 4, 3, 3), b=values(32)), dict(x=values(2, 8, 9, 11)), group=2, pads=[1, 0, 1, 2], strides=[2, 1])
    yield Case("Conv", ["x", "w", "b"], dict(w=values(32, 8, 3, 3), b=values(32)), dict(x=values(1, 8, 9, 11)), auto_pad="SAME_UPPER", dilations=[1, 1], block="8x4")
    for op, gates in (("GRU", 3), ("LSTM", 4), ("RNN", 1)):
        yield recurrent(op, gates)
        yield recurrent(op, gates, 2, ("b", "lens", "h"), direction="bidirectional")
        yield recurrent(op, gates, 1, ("h",), outputs=("", "y_h"), direction="reverse")
        yield recurrent(op, gates, 1, ("b",), packed="w", function=f"BlockSparse{op}Input")
        yield recurrent(op, gates, 1, ("b",), packed="r", function=f"BlockSparse{op}Recurrent", outputs=("y",))
    yield recurrent("GRU", 3, 1, ("b", "h"), linear_before_reset=1)
    yield recurrent("GRU", 3, 1, ("b",), activations=["HardSigmoid", "Softsign"], activation_alpha=[0.25], activation_beta=[0.4])
    yield recurrent("GRU", 3, 1, ("b",), clip=0.5)
    yield recurrent("LSTM", 4, 2, ("b", "lens", "c"), outputs=("y", "y_h", "y_c"), direction="bidirectional")
    yield recurrent("RNN", 1, 1, ("b",), activations=["Relu"])


def own_outputs(program, model, feeds, names, folder):
    data = os.path.join(folder, "feeds.npz")
    np.savez(data, **feeds)
    peer.espalier(program, "run", model, "--inputs", data, "-o", folder, "-q")
    return [np.load(os.path.join(folder, f"output_{name}.npy")) for name in names]


def prune(program, dense, packed, case, profile, *more):
    only = ["--exclude", {"w": "^r$", "r": "^w$"}[case.only]] if getattr(case, "only", None) else []
    peer.espalier(program, "prune", dense, packed, "--method", "l2", "--block", case.block, "--sparsity", "0.7", "--min-weights", "1", "--no-verify", "-q",
                  "--profile", profile, *only, *more)


def check_case(program, library, case, folder):
    dense = os.path.join(folder, "dense.onnx")
    case.save(dense)
    names = [name for name in case.outputs if name]
    faults = []
    for profile in ("operator", "region"):
        for more in ([], ["--values", "f16"]):
            packed = os.path.join(folder, f"{profile}.onnx")
            prune(program, dense, packed, case, profile, *more)
            onnx.checker.check_model(packed, full_check=True)
            called = [node.op_type for node in onnx.load(packed).graph.node]
            wanted = case.function if profile == "operator" else "BlockSparseRegion"
            if called != [wanted]:
                faults.append(f"{case}: {profile} calls {called}, expected {wanted}")
            expected = own_outputs(program, packed, case.feeds, names, folder)
            for level in LEVELS:
                for lib in (None, library):
                    found = session(packed, lib, level).run(None, case.feeds)
                    difference = peer.relative_difference(found, expected)
                    if not difference <= TOLERANCE:
                        faults.append(f"{case}: {profile} {more} {level} {'with' if lib else 'without'} the library differs by {difference:.1e}")
    return faults


def check_model(program, library, name, folder):
    """A whole model; its region is one node."""
    model = os.path.join(peer.SHARED, "models", name, "model.onnx")
    faults = []
    for profile in ("operator", "region"):
        packed = os.path.join(folder, f"{profile}.onnx")
        if "trained" in name:
            peer.espalier(program, "convert", model, packed, "--profile", profile, "--no-verify", "-q")
        else:
            peer.espalier(program, "prune", model, packed, "--block", "16x1", "--sparsity", 0.8, "--method", "l2", "--no-verify", "-q", "--profile", profile)
        stock = session(packed)
        feeds = peer.test_inputs(model, stock)
        names = [output.name for output in stock.get_outputs()]
        expected = own_outputs(program, packed, feeds, names, folder)
        nodes = onnx.load(packed).graph.node
        if profile == "region" and [node.op_type for node in nodes] != ["BlockSparseRegion"]:
            faults.append(f"{name}: the region is {len(nodes)} nodes")
        for level in LEVELS:
            for lib in (None, library):
                difference = peer.relative_difference(session(packed, lib, level).run(None, feeds), expected)
                if not difference <= 2e-4:
                    faults.append(f"{name}: {profile} {level} {'with' if lib else 'without'} the library differs by {difference:.1e}")
    return faults


def check_threads(program, library, folder):
    """Two sessions of one file and four callers of each, one and two threads inside: every result as from one caller."""
    case = recurrent("GRU", 3, 1, ("b", "h"))
    big = Case("MatMul", ["x", "w"], dict(w=values(512, 512)), dict(x=values(64, 512)))
    faults = []
    for case, profile in ((case, "operator"), (case, "region"), (big, "operator"), (big, "region")):  # noqa: B020
        dense, packed = os.path.join(folder, "dense.onnx"), os.path.join(folder, "packed.onnx")
        case.save(dense)
        prune(program, dense, packed, case, profile)
        expected = session(packed, library).run(None, case.feeds)
        sessions = [session(packed, library, threads=threads) for threads in (1, 2)]
        wrong = []

        def call(one):
            for _ in range(20):
                if any((a != b).any() for a, b in zip(one.run(None, case.feeds), expected, strict=True)):  # noqa: B023
                    wrong.append(1)  # noqa: B023

        callers = [threading.Thread(target=call, args=(one,)) for one in sessions * 4]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        if wrong:
            faults.append(f"{case}: {profile}: {len(wrong)} results of concurrent callers differ from that of one")
    return faults


def check_shapes(program, library, folder):
    """A free batch: each run another extent, none included."""
    case = Case("Gemm", ["x", "w"], dict(w=values(24, 48)), dict(x=values(5, 24)))
    faults = []
    for profile in ("operator", "region"):
        dense, packed = os.path.join(folder, "dense.onnx"), os.path.join(folder, "packed.onnx")
        case.save(dense)
        free = onnx.load(dense)
        for value in (free.graph.input[0], free.graph.output[0]):
            value.type.tensor_type.shape.dim[0].dim_param = "n"
        onnx.save(free, dense)
        prune(program, dense, packed, case, profile)
        stock, fast = session(packed), session(packed, library)
        for batch in (1, 7, 3, 0, 64, 7):
            feeds = dict(x=values(batch, 24))
            difference = peer.relative_difference(fast.run(None, feeds), stock.run(None, feeds))
            if not difference <= TOLERANCE:
                faults.append(f"{profile}: a batch of {batch} differs by {difference:.1e}")
    return faults


def broken(model, change):
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == "w/index")
    index = numpy_helper.to_array(tensor).copy()
    change(index)
    tensor.CopyFrom(numpy_helper.from_array(index, tensor.name))


def check_hostile(program, library, folder):
    """A wrong index is an error of the session, with its place; the process goes on. (A region has indices below 1 KiB inside.)"""
    case = Case("MatMul", ["x", "w"], dict(w=values(96, 192)), dict(x=values(5, 96)))
    faults = []
    for profile in ("operator", "region"):
        dense, packed = os.path.join(folder, "dense.onnx"), os.path.join(folder, "packed.onnx")
        case.save(dense)
        prune(program, dense, packed, case, profile)
        for what, change in (("out of the grid", lambda i: i.__setitem__((0, 1), 60000)), ("out of order", lambda i: i.__setitem__(0, i[-1])),
                             ("twice", lambda i: i.__setitem__(1, i[0]))):
            model = onnx.load(packed)
            broken(model, change)
            onnx.save(model, packed + ".broken")
            try:
                session(packed + ".broken", library)
                faults.append(f"{profile}: an index {what} is taken")
            except Exception as error:  # noqa: BLE001
                if "packed weight w" not in str(error) or "block" not in str(error):
                    faults.append(f"{profile}: an index {what}: {error}")
    model = onnx.load(packed)
    attribute = next(a for a in model.graph.node[0].attribute if a.name == "body")
    for text in (b"", b"\xff" * 50, attribute.s[:-20], attribute.s[: len(attribute.s) // 2]):
        attribute.s = text
        onnx.save(model, packed + ".broken")
        try:
            session(packed + ".broken", library)
            faults.append(f"a region whose body is {text[:20]}... is taken")
        except Exception as error:  # noqa: BLE001
            if "BlockSparseRegion" not in str(error):
                faults.append(f"a region whose body is {text[:20]}...: {error}")
    return faults


def check_example(program, library, folder):
    """The program of docs/deploy.md."""
    packed = os.path.join(folder, "region.onnx")
    peer.espalier(program, "convert", os.path.join(peer.ROOT, "testdata/bandgru/trained_16x1_90.onnx"), packed, "--profile", "region", "--no-verify", "-q")
    done = subprocess.run([sys.executable, os.path.join(peer.ROOT, "docs/deploy/run_in_onnxruntime.py"), library, packed], capture_output=True, text=True)
    return [] if done.returncode == 0 and done.stdout.startswith("gains (1, 1, 32) float32") else [f"docs/deploy/run_in_onnxruntime.py: {done.stdout}{done.stderr}"]


def main(program):
    library = os.path.join(os.path.dirname(os.path.abspath(program)), "../lib/libespalier_onnxruntime.so")
    if not os.path.exists(library):
        print("skipped: libespalier_onnxruntime.so is not built: the C header of onnxruntime is absent (scripts/setup)")
        return peer.SKIPPED
    ctypes.CDLL(os.path.join(os.path.dirname(library), "libespalier.so"))  # both in one process: protobuf ends it where messages are there twice
    count, faults = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            count += 1
            faults += check_case(program, library, case, folder)
        for check in (check_threads, check_shapes, check_hostile, check_example):
            count += 1
            faults += check(program, library, folder)
        if os.path.isdir(os.path.join(peer.SHARED, "models")):
            for name in MODELS:
                count += 1
                faults += check_model(program, library, name, folder)
    for fault in faults:
        print(fault)
    print(f"{count} cases, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
