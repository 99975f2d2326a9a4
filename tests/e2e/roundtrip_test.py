#!/usr/bin/env python3
"""Reading and writing changes nothing: every model of ../shared/models converted without packing is equal field by field, packed models decode
to the same bits, and any number of threads writes the same bytes.    roundtrip_test.py ESPALIER"""
import os
import sys
import tempfile

import onnx

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

NNEF_MODELS = ("mlp_digits", "cnn_digits", "gru_digits", "bandgru_denoise", "bandgru_trained_16x1_90", "bandgru384_trained_lpcnet",
               "silero_vad_16k_sequence", "dtln_1")
ONNX_PROFILES = ("function", "inline", "sparse-value", "dense")


def same_weights(a, b):
    """Weights of model b that differ from those of model a in a bit."""
    a, b = peer.weights(onnx.load(a)), peer.weights(onnx.load(b))
    return [name for name, (array, *_) in a.items() if name not in b or b[name][0].tobytes() != array.tobytes()]


def outputs(path, model):
    session = peer.session(path)
    return session.run(None, peer.test_inputs(model, session))


def check(program, name, folder):
    model = os.path.join(peer.SHARED, "models", name, "model.onnx")
    plain = os.path.join(folder, "plain.onnx")
    peer.espalier(program, "convert", model, plain, "--pack", "none", "-q")
    if onnx.load(model) != onnx.load(plain):
        yield "written back without packing it is another model"
    if [x.tobytes() for x in outputs(model, model)] != [x.tobytes() for x in outputs(plain, model)]:
        yield "onnxruntime computes something else with the written file"
    for profile in ONNX_PROFILES:
        packed, dense = os.path.join(folder, "packed.onnx"), os.path.join(folder, "dense.onnx")
        peer.espalier(program, "prune", model, packed, "--sparsity", "0.8", "--block", "16x1", "--profile", profile, "--no-verify", "-q")
        again = os.path.join(folder, "again.onnx")
        peer.espalier(program, "prune", model, again, "--sparsity", "0.8", "--block", "16x1", "--profile", profile, "--no-verify", "-q",
                      "--threads", "1")
        if open(packed, "rb").read() != open(again, "rb").read():
            yield f"{profile}: one thread writes other bytes than all threads"
        peer.espalier(program, "convert", packed, dense, "--profile", "dense", "--pack", "none", "-q")
        reference = os.path.join(folder, "reference.onnx")
        peer.espalier(program, "prune", model, reference, "--sparsity", "0.8", "--block", "16x1", "--profile", "dense", "--no-verify", "-q")
        differing = same_weights(reference, dense)
        if differing:
            yield f"{profile}: decoded weights differ in a bit: {', '.join(differing[:3])}"
    if name in NNEF_MODELS:
        for ending in (".nnef.tgz", ".nnef.tar", ""):
            packed, dense = os.path.join(folder, "packed" + ending), os.path.join(folder, "dense" + ending)
            peer.espalier(program, "convert", reference, packed, "-q")
            peer.espalier(program, "convert", packed, dense, "--profile", "dense", "--pack", "none", "-q")
            peer.espalier(program, "verify", reference, packed, "-q")
            peer.espalier(program, "verify", packed, dense, "-q")


def main(program):
    models = peer.need_shared("models")
    names = sorted(n for n in os.listdir(models) if os.path.isdir(os.path.join(models, n)))
    failed = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                faults = list(check(program, name, folder))
            except Exception as error:  # noqa: BLE001: the other models still run
                faults = [str(error)]
        failed += bool(faults)
        print(f"{'FAIL' if faults else 'ok  '} {name}: {'; '.join(faults)}", flush=True)
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
