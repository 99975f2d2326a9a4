#!/usr/bin/env python3
"""Keras 3 on JAX: a GRU on scikit-learn's digits, whose recurrent kernel is pruned to 90 % in 16x1 blocks while it is trained, diagonals kept,
along the cubic schedule; then a lottery ticket: the initial weights under the masks that were found, trained again.

tests/run --training runs it in the venv of scripts/setup --training, which has the wheel. Expected: top-1 of at least .96, zeros that are exact
through Keras' exporter, a packed file that decodes to every bit of it, and the same predictions from it.
"""
import os
import subprocess
import sys
import tempfile

os.environ["KERAS_BACKEND"] = "jax"

import keras  # noqa: E402
import numpy as np  # noqa: E402
from page import run_block  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402

import espalier  # noqa: E402
from espalier import layouts, masks  # noqa: E402
from espalier.keras import Prune, rewound, weights_of  # noqa: E402

LEAST, UNITS, BATCH, EPOCHS = 0.96, 128, 32, 40
NEVER = masks.Schedule(1 << 60, (1 << 60) + 1)


def network(unroll=False):
    return keras.Sequential([keras.Input((8, 8), name="x"), keras.layers.GRU(UNITS, name="gru", unroll=unroll), keras.layers.Dense(10, name="out")])


def compiled(model, x):
    steps = -(-len(x) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(4e-3, steps * EPOCHS)
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def trained(model, x, y, callback):
    compiled(model, x).fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[callback])


def kernel(model):
    return np.asarray(weights_of(model)["gru/recurrent_kernel"][0].value)


def in_tract(dense, name, held, folder):
    """Scores of the packed NNEF file in stock tract, which is in the venv of scripts/setup --peers; None where that is absent."""
    python = os.path.join(os.environ.get("ESPALIER_CACHE") or os.path.expanduser("~/.cache/espalier"), "venv/bin/python")
    if not os.path.exists(python):
        print("skipped: tract is absent: scripts/setup --peers")
        return None
    packed, given, found = (os.path.join(folder, file) for file in ("packed.nnef.tgz", "in.npz", "out.npz"))
    espalier.convert(dense, packed, input_shape={name: f"{len(held)}x8x8"}, warning=print)
    np.savez(given, **{"0_0": held})
    subprocess.run([python, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support/run_tract.py"), packed, given, found], check=True)
    with np.load(found) as outputs:
        return outputs["0_0"]


def check_export(model, prune, held, labels, top1):
    """Keras' own exporter, then convert: packed without losing a bit, the same predictions from espalier and stock tract, the same masks in the file."""
    with tempfile.TemporaryDirectory() as folder:
        dense, packed = os.path.join(folder, "dense.onnx"), os.path.join(folder, "packed.onnx")
        model.export(dense, format="onnx", verbose=False)
        report = espalier.convert(dense, packed, warning=print)
        rows = [layer for layer in report["layers"] if layer["bytes_after"] < layer["bytes_before"]]
        print("packed:", [(layer["weight"], layer["operator"], layer["block"], layer["bytes_before"], layer["bytes_after"]) for layer in rows])
        assert rows, "nothing was packed"
        # A Loop has constants that the GRU of the packed file does without: verify finds no counterparts for these.
        assert rows[0]["operator"] == "GRU" or espalier.verify(dense, packed)["ok"]
        found = [espalier.Session(path) for path in (dense, packed)]
        given = found[0].get_inputs()[0].name
        scores = [float((session.run(None, {given: held})[0].argmax(1) == labels).mean()) for session in found]
        print(f"top-1 of the exported file {scores[0]:.4f}, packed {scores[1]:.4f}")
        assert scores[0] == scores[1] == top1
        scores = in_tract(dense, given, held, folder)
        if scores is not None:
            reached = float((scores.argmax(1) == labels).mean())
            print(f"top-1 of the packed NNEF file in tract {reached:.4f}")
            assert reached == top1
        kernels = {name: np.asarray(variable.value) for name, (variable, _) in weights_of(model).items()}
        in_file = layouts.masks_for(dense, kernels, prune.masks, framework="keras")
        print(f"mask gru/recurrent_kernel is {', '.join(in_file)} of the file")
        espalier.apply_masks(dense, in_file, os.path.join(folder, "masked.onnx"))
        assert espalier.verify(packed, os.path.join(folder, "masked.onnx"))["ok"]


def main():
    digits = load_digits()
    x, held, y, labels = train_test_split((digits.images / 16).astype(np.float32), digits.target, test_size=360, random_state=0, stratify=digits.target)
    keras.utils.set_random_seed(1)
    keras.utils.disable_interactive_logging()
    model = network()
    initial = {v.path: np.asarray(v.value).copy() for v in model.variables}
    prune = run_block("from espalier.keras import", {"model": compiled(model, x), "x": x, "y": y})["prune"]
    mask = prune.masks["gru/recurrent_kernel"]
    top1 = float((model.predict(held, verbose=0).argmax(1) == labels).mean())
    print(f"trained with masks: {masks.sparsity(mask):.4f} of the recurrent kernel are zeros, top-1 {top1:.4f}")
    assert top1 >= LEAST
    assert masks.sparsity(mask) > 0.88
    assert (kernel(model)[~mask].view(np.uint32) == 0).all()

    check_export(model, prune, held, labels, top1)  # a Loop
    unrolled = network(unroll=True)  # MatMul nodes that read one kernel
    unrolled.set_weights(model.get_weights())
    unrolled(held[:1])
    check_export(unrolled, prune, held, labels, top1)

    ticket = network()
    rewound(ticket, dict(zip([v.path for v in ticket.variables], initial.values(), strict=True)), prune.masks)
    np.testing.assert_array_equal(kernel(ticket)[mask], initial[next(p for p in initial if "recurrent_kernel" in p)][mask])
    trained(ticket, x, y, Prune({}, NEVER, prune.masks))
    again = float((ticket.predict(held, verbose=0).argmax(1) == labels).mean())
    print(f"lottery ticket: top-1 {again:.4f}")
    assert again >= LEAST
    assert (kernel(ticket)[~mask] == 0).all()
    return 0


if __name__ == "__main__":
    sys.exit(main())
