#!/usr/bin/env python3
"""Prunes every model of ../shared/models with the usual blocks and lets stock peers judge the ONNX files.

For each: the default profile passes onnx's full checker; onnxruntime computes the same with it as with the dense profile; in the dense
profile every weight is untouched or zero, whole blocks at a time, as many as was asked for within one block, and diagonals of recurrent
matrices are whole.    prune_matrix_test.py ESPALIER [MODEL...]
"""
import concurrent.futures
import json
import os
import sys
import tempfile

import numpy as np
import onnx

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

EVERYWHERE = ["16x1", "16x4", "1x1", "2:4"]
SMALL = ["8x1", "8x4", "4x8", "1x4", "5x3"]
SMALL_MODELS = {"mlp_digits", "cnn_digits", "gru_digits", "bandgru_denoise"}
SPARSITY = 0.5


def block_sums(mask, rows, cols):
    """Sums of a [parts, m, n] array over blocks of each part, ragged edges padded with zeros."""
    parts, m, n = mask.shape
    padded = np.zeros((parts, -(-m // rows) * rows, -(-n // cols) * cols), np.int64)
    padded[:, :m, :n] = mask
    return padded.reshape(parts, padded.shape[1] // rows, rows, padded.shape[2] // cols, cols).sum((2, 4))


def check_layer(layer, before, after, block):
    """What is wrong with one pruned weight; nothing where all is well."""
    array, op, attributes, place = before
    dense, pruned = peer.folded(array, op, attributes, place), peer.folded(after[0], op, attributes, place)
    bits = np.uint32 if dense.dtype == np.float32 else np.uint16
    same = np.ascontiguousarray(dense).view(bits) == np.ascontiguousarray(pruned).view(bits)
    if (~same & (np.ascontiguousarray(pruned).view(bits) != 0)).any():
        return "a kept weight has changed"
    counted = np.ones(dense.shape, bool)
    if layer["diagonal"]:
        diagonal = np.eye(*dense.shape[1:], dtype=bool)[None]
        counted &= ~diagonal
        if (~same & diagonal).any():
            return "a diagonal is not whole"
    nonzero = (pruned != 0) & counted
    if block == "2:4":
        if op == "Conv":  # groups of channels at one window position
            parts, outputs, _ = nonzero.shape
            nonzero = np.swapaxes(nonzero.reshape(parts, outputs, array.shape[1], -1), 2, 3).reshape(parts, -1, array.shape[1])
        left = block_sums(nonzero, 1, 4)
        return f"{int((left > 2).sum())} groups keep more than 2 of 4" if (left > 2).any() else None
    rows, cols = map(int, block.split("x"))
    # A block is whole where it lost nothing but zeros that were zeros before.
    lost, inside = block_sums(~same & counted, rows, cols), block_sums((dense != 0) & counted, rows, cols)
    if ((lost != 0) & (lost != inside)).any():
        return "a block is dropped in part"
    zeros, total = int((~nonzero & counted).sum()), int(counted.sum())
    already = int(((dense == 0) & counted).sum())
    wanted = SPARSITY * total
    if zeros < wanted - rows * cols or zeros > max(wanted + rows * cols, already + wanted + rows * cols):
        return f"{zeros} of {total} weights are zero, {wanted:.0f} were asked for"
    if already == 0 and abs(layer["zeros"] - zeros / total) > 1e-9:
        return f"the report says {layer['zeros']} zeros, the file has {zeros / total}"
    return None


def run_case(program, name, block, folder):
    model = os.path.join(peer.SHARED, "models", name, "model.onnx")
    stem = os.path.join(folder, f"{name}-{block.replace(':', 'of')}")
    packed, dense, report = f"{stem}.onnx", f"{stem}.dense.onnx", f"{stem}.json"
    shape = ["--nm", block] if ":" in block else ["--block", block, "--sparsity", SPARSITY]
    common = ["prune", model, *shape, "--method", "l2", "--no-verify"]
    peer.espalier(program, *common, "-o", packed, "--json", report)
    peer.espalier(program, *common, "-o", dense, "--profile", "dense")
    onnx.checker.check_model(packed, full_check=True)
    with open(report, encoding="utf-8") as file:
        layers = [layer for layer in json.load(file)["layers"] if layer["left_out"] is None]
    before, after = peer.weights(onnx.load(model)), peer.weights(onnx.load(dense))
    if any(layer["weight"] not in before or list(before[layer["weight"]][0].shape) != layer["shape"] for layer in layers):
        # Weights that operators made of others: prune stores what they made.
        uncovered = f"{stem}.uncovered.onnx"
        peer.espalier(program, "prune", model, uncovered, "--sparsity", "0", "--block", "1x1", "--profile", "dense", "--no-verify")
        before = peer.weights(onnx.load(uncovered))
        inputs = peer.test_inputs(model, peer.session(model))
        if peer.relative_difference(peer.session(uncovered).run(None, inputs), peer.session(model).run(None, inputs)) != 0:
            raise RuntimeError("the model with uncovered weights computes something else")
    faults = [f"{layer['weight']}: {fault}" for layer in layers
              if (fault := check_layer(layer, before[layer["weight"]], after[layer["weight"]], block))]
    faults += [f"{key}: changed though it is no pruned layer" for key in before
               if key not in {layer["weight"] for layer in layers} and before[key][0].tobytes() != after[key][0].tobytes()]
    a, b = peer.session(packed), peer.session(dense)
    inputs = peer.test_inputs(model, b)
    difference = peer.relative_difference(a.run(None, inputs), b.run(None, inputs))
    if difference > 1e-5:
        faults.append(f"onnxruntime: packed and dense profile differ by {difference:.1e}")
    return len(layers), difference, os.path.getsize(packed) / os.path.getsize(model), faults


def main(program, *names):
    models = peer.need_shared("models")
    names = names or sorted(n for n in os.listdir(models) if os.path.isdir(os.path.join(models, n)))
    cases = [(name, block) for name in names for block in EVERYWHERE + (SMALL if name in SMALL_MODELS else [])]
    passed = 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(run_case, program, name, block, folder) for name, block in cases]
        for (name, block), job in zip(cases, jobs):
            try:
                layers, difference, share, faults = job.result()
                line = f"{layers} layers, {share:.1%} of the file, largest difference {difference:.0e}"
                # A model without a weight to prune would pass every check.
                faults += [] if layers else ["nothing was pruned"]
            except Exception as error:  # noqa: BLE001: the other cases still run
                line, faults = "", [str(error)]
            passed += not faults
            print(f"{'ok  ' if not faults else 'FAIL'} {name} {block}: {'; '.join(faults[:5]) if faults else line}", flush=True)
    print(f"{passed} passed, {len(cases) - passed} failed")
    return 0 if passed == len(cases) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
