#!/usr/bin/env python3
"""The kernels' targets, measured: one row per target with the worst and best figure of all shapes, and whether it is met.

    kernel_targets.py ESPALIER [--seconds S] [--peers PYTHON] [--libraries PROGRAM] [--quick]

Y[m, n] = W[m, k] X[k, n], one thread, each kernel in turns with the quicker of oneDNN's dense layouts (espalier bench --kernels). --peers names
a Python that has numpy, scipy and mkl (pip install numpy scipy mkl; torch too, if it should be compared): unstructured weights are then timed
next to MKL's and scipy's compressed rows, 4x4 and 16x4 blocks next to MKL's, torch's and scipy's block rows. --libraries names
build/release/bin/kernel_peers, which compares with XNNPACK's spmm and libxsmm's spmdm. int8 is compared with onnxruntime's dynamically quantized Gemm.
The last column: medians of what our kernel and the dense product reach of the limit that the same run measured, multiply-adds at their peak or (n = 1)
reading the weight once from the level of cache that holds it.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

SHAPES = ["1152x384", "768x768", "3072x768", "4096x4096"]
BLOCKS = ["16x1", "16x4", "8x1", "8x4", "4x8"]

PEER = """
import ctypes, glob, json, sys, time, warnings
import numpy as np, scipy.sparse as sp
mkl = ctypes.CDLL(sorted(glob.glob(sys.prefix + "/lib/libmkl_rt.so*"))[0])
mkl.MKL_Set_Num_Threads(1)
class Descr(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("mode", ctypes.c_int), ("diag", ctypes.c_int)]
def best(body, seconds=0.15):
    body(); times = []; end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter(); body(); times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))
def pointer(a):
    return a.ctypes.data_as(ctypes.c_void_p)
def mkl_product(w, block, x, y):
    rows = w.shape[0] // block
    start, index, values, handle = w.indptr.astype(np.int32), w.indices.astype(np.int32), w.data, ctypes.c_void_p()
    ends = ctypes.c_void_p(start.ctypes.data + 4)
    made = mkl.mkl_sparse_s_create_csr(ctypes.byref(handle), 0, *w.shape, pointer(start), ends, pointer(index), pointer(values)) if block == 1 else \
        mkl.mkl_sparse_s_create_bsr(ctypes.byref(handle), 0, 101, rows, w.shape[1] // block, block, pointer(start), ends, pointer(index), pointer(values))
    assert made == 0
    descr, n = Descr(20, 0, 0), x.shape[1]
    mkl.mkl_sparse_set_mm_hint(handle, 10, descr, 101, n, 1000); mkl.mkl_sparse_optimize(handle)
    def vector(keep=(start, index, values)):
        assert mkl.mkl_sparse_s_mv(10, ctypes.c_float(1), handle, descr, pointer(x), ctypes.c_float(0), pointer(y)) == 0
    if n == 1:
        mkl.mkl_sparse_set_mv_hint(handle, 10, descr, 1000); mkl.mkl_sparse_optimize(handle)
        vector()
        return vector
    def run(keep=(start, index, values)):
        assert mkl.mkl_sparse_s_mm(10, ctypes.c_float(1), handle, descr, 101, pointer(x), n, n, ctypes.c_float(0), pointer(y), n) == 0
    run()
    return run
one = np.ones((1, 1), np.float32)
call = {n: best(mkl_product(sp.csr_matrix(one), 1, np.ones((1, n), np.float32), np.zeros((1, n), np.float32))) for n in (1, 4)}  # of Python
try:
    import torch
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # torch calls its block rows a beta
except ImportError:
    torch = None
for line in sys.stdin:
    m, k, n, sparsity, rows, cols = json.loads(line)
    rng = np.random.default_rng(0)
    kept = np.kron(rng.random((m // rows, k // cols)) < 1 - sparsity, np.ones((rows, cols), bool))
    dense = np.where(kept, rng.standard_normal((m, k)), 0).astype(np.float32)
    x = rng.standard_normal((k, n)).astype(np.float32); y = np.zeros((m, n), np.float32)
    w = sp.csr_matrix(dense) if rows == cols == 1 else sp.bsr_matrix(dense, blocksize=(rows, cols))
    times = {"scipy": best(lambda: w @ x)} if n >= 16 else {}
    if rows == cols:
        run = mkl_product(w, rows, x, y)
        assert np.allclose(y, dense @ x, atol=1e-2)
        times["mkl"] = best(run) - call.get(x.shape[1], 0)
    if torch and rows == cols > 1:  # it takes square blocks alone
        tw, tx = torch.from_numpy(dense).to_sparse_bsr((rows, cols)), torch.from_numpy(x)
        assert np.allclose((tw @ tx).numpy(), dense @ x, atol=1e-2)
        times["torch"] = best(lambda: tw @ tx)
    print(json.dumps(times), flush=True)
"""


class Kernels:
    def __init__(self, program, seconds, quick):
        self.program, self.seconds = program, seconds
        self.shapes = SHAPES[:2] if quick else SHAPES

    def __call__(self, blocks, samples, sparsities, values="f32", shapes=None):
        command = [self.program, "bench", "--kernels", "--shape", ",".join(shapes or self.shapes), "--n", ",".join(map(str, samples)), "--block", ",".join(blocks),
                   "--sparsity", ",".join(map(str, sparsities)), "--values", values, "--seconds", str(self.seconds), "--threads", "1", "-q", "--json", "-"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def name(row):
    return f"{row['block']} {row['m']}x{row['k']} n={row['n']} {100 * row['sparsity']:.0f} %" + ("" if row["dtype"] == "f32" else " " + row["dtype"])


def milliseconds(row):
    return 2e-6 * row["m"] * row["k"] * row["n"] * (1 - row["sparsity"]) / row["gflops_nonzero"]


def dense_share(row):
    """What the dense product reaches of the limit that `row` names; the weight it reads is 1 / (1 - sparsity) times as large."""
    return row["share_of_limit"] / row["speedup_vs_dense"] / (1 - row["sparsity"])


def shares(rows, dense):
    kinds = [lambda r: r["share_of_limit"]] + [dense_share] * dense
    return " / ".join(f"{100 * statistics.median(map(kind, rows)):.0f} %" for kind in kinds)


def show(target, figures, wanted, rows=(), dense=False):
    """figures: (value, what it is of); all must reach `wanted`. rows: ours of these; dense: whether the target is a ratio to the dense product."""
    figures.sort()
    met = sum(value >= wanted for value, _ in figures)
    text = f"{figures[0][0]:.2f} ({figures[0][1]}) to {figures[-1][0]:.2f} ({figures[-1][1]}), median {statistics.median(v for v, _ in figures):.2f}"
    print(f"| {target} | {wanted:g} | {text} | {met} of {len(figures)} | {shares(rows, dense) if rows else ''} |", flush=True)


def density_targets(kernels):
    rows = kernels(BLOCKS, [4, 16, 64, 256], [0.5, 0.75, 0.9, 0.95])
    print(f"peak of multiply-adds {rows['limits']['peak_gflops']:.0f} GFLOP/s\n")
    print("| target | required | worst to best | met | of the limit: ours / dense |\n|---|---|---|---|---|")
    for block in BLOCKS:
        for large in (False, True):
            wanted = 0.8 if large else 0.9
            mine = [r for r in rows["kernels"] if r["block"] == block and (r["m"] == 4096) == large]
            for few in (True, False):
                some = [r for r in mine if (r["n"] < 16) == few]
                if some:
                    show(f"{block} f32, {'n = 4' if few else 'n >= 16'}{', 4096x4096' if large else ''}: speed-up times density",
                         [(r["speedup_vs_dense"] * (1 - r["sparsity"]), name(r)) for r in some], wanted, some, dense=True)
    few_zeros = [r for r in kernels(BLOCKS, [4, 64], [0.1, 0.2])["kernels"] if r["sparsity"] == (0.2 if r["m"] == 4096 else 0.1)]
    show("never slower than dense from 10 % zeros on (20 % for 4096x4096)", [(r["speedup_vs_dense"], name(r)) for r in few_zeros], 1, few_zeros, dense=True)


def vector_targets(kernels):
    rows = kernels(BLOCKS, [1], [0.5, 0.75, 0.9, 0.95])["kernels"]
    for block in BLOCKS:
        some = [r for r in rows if r["block"] == block]
        show(f"{block} f32, n = 1: share of the machine's limit", [(r["share_of_limit"], name(r)) for r in some], 0.85, some, dense=True)
    large = [s for s in kernels.shapes if s == "4096x4096"] or kernels.shapes[-1:]
    found = {(r["block"], r["sparsity"], r["dtype"]): r for r in kernels(["16x1", "16x4", "8x4"], [1], [0.5, 0.75, 0.9], "f32,f16,bf16,i8", large)["kernels"]}
    for dtype in ("f16", "bf16", "i8"):
        some = {key: r for key, r in found.items() if key[2] == dtype}
        show(f"{dtype} values, n = 1, {large[0]}: times the f32 kernel",
             [(r["gflops_nonzero"] / found[key[0], key[1], "f32"]["gflops_nonzero"], name(r)) for key, r in some.items()], 1.7, list(some.values()))


def unstructured_targets(kernels, peers):
    rows = kernels(["1x1"], [64, 256], [0.3, 0.5, 0.75, 0.9, 0.95])["kernels"]
    few_zeros = [r for r in rows if r["sparsity"] == 0.3]
    show("1x1 f32, n >= 64: speed-up at 30 % zeros", [(r["speedup_vs_dense"], name(r)) for r in few_zeros], 1, few_zeros, dense=True)
    if not peers:
        return
    peer = subprocess.Popen([peers, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    block_rows = kernels(["4x4", "16x4"], [16, 64, 256], [0.5, 0.75, 0.9, 0.95])["kernels"]
    few = kernels(["1x1"], [1, 4], [0.5, 0.7, 0.9])["kernels"]
    figures, measured = {}, {}
    for row in [r for r in rows if r["sparsity"] >= 0.5] + few + block_rows:
        peer.stdin.write(json.dumps([row["m"], row["k"], row["n"], row["sparsity"], *map(int, row["block"].split("x"))]) + "\n")
        peer.stdin.flush()
        theirs = json.loads(peer.stdout.readline())
        ours = kernels([row["block"]], [row["n"]], [row["sparsity"]], shapes=[f"{row['m']}x{row['k']}"])["kernels"][0]  # in turns
        for one, ms in theirs.items():
            kind = row["block"], one, row["n"] if row["n"] < 16 else 16
            figures.setdefault(kind, []).append((ms / milliseconds(ours), name(row)))
            measured.setdefault(kind, []).append(ours)
    peer.stdin.close()
    peer.wait()
    for (block, one, n), values in figures.items():
        form = f"compressed rows, {'n >= 64' if n == 16 else f'n = {n}'}" if block == "1x1" else "block rows, n >= 16"
        wanted = 1 if block != "1x1" else 2 if n == 16 else 1.2
        show(f"{block} f32: times {one}'s {form}", values, wanted, measured[block, one, n])


def library_targets(program, seconds):
    """XNNPACK and libxsmm by tests/bench/kernel_peers, which times them in turns with ours in one process."""
    lines = subprocess.run([program, str(seconds)], check=True, capture_output=True, text=True).stdout.splitlines()
    rows = [json.loads(line) | {"dtype": "f32"} for line in lines]
    for block in ("1x1", "16x1"):
        for library, title in (("xnnpack", "XNNPACK's spmm"), ("libxsmm", "libxsmm's spmdm")):
            show(f"{block} f32, n >= 64: times {title}", [(r[library] / r["espalier"], name(r)) for r in rows if r["block"] == block and r["n"] >= 64], 2)


def quantized_targets(kernels):
    import numpy as np
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization import quantize_dynamic
    figures, measured = [], []
    for shape in kernels.shapes:
        m, k = map(int, shape.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            plain, quantized = os.path.join(folder, "m.onnx"), os.path.join(folder, "q.onnx")
            w = np.random.default_rng(0).standard_normal((k, m)).astype(np.float32)
            graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", k])],
                                      [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", m])], [numpy_helper.from_array(w, "w")])
            onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), plain)
            quantize_dynamic(plain, quantized)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            session = onnxruntime.InferenceSession(quantized, options, providers=["CPUExecutionProvider"])
            for n in (16, 64):
                x = np.random.default_rng(1).standard_normal((n, k)).astype(np.float32)
                times, end = [], time.perf_counter() + 0.3
                while time.perf_counter() < end:
                    start = time.perf_counter()
                    session.run(None, {"x": x})
                    times.append(1000 * (time.perf_counter() - start))
                for row in kernels(["16x4", "8x4"], [n], [0.5, 0.9], "i8", [shape])["kernels"]:
                    figures.append((statistics.median(times) / milliseconds(row) * (1 - row["sparsity"]), name(row)))
                    measured.append(row)
    show("i8 values, n >= 16: speed-up over onnxruntime's dynamic int8 times density", figures, 0.7, measured)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--peers", default="")
    parser.add_argument("--libraries", default="")
    parser.add_argument("--quick", action="store_true", help="two shapes")
    args = parser.parse_args()
    kernels = Kernels(args.program, args.seconds, args.quick)
    density_targets(kernels)
    vector_targets(kernels)
    unstructured_targets(kernels, args.peers)
    if args.libraries:
        library_targets(args.libraries, args.seconds)
    quantized_targets(kernels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
