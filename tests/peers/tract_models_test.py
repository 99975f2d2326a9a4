#!/usr/bin/env python3
"""The models of ../shared/models as NNEF in stock tract against ONNX in onnxruntime, dense and pruned: largest relative difference of any output
over the stored test inputs, and again after espalier has read the NNEF file back and written it as ONNX. What has control flow is refused.

    tract_models_test.py ESPALIER [MODEL...]
"""
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402
import tract_models  # noqa: E402

SMALL = ["mlp_digits", "cnn_digits", "gru_digits", "bandgru_denoise", "bandgru_trained_16x1_90", "bandgru384_trained_lpcnet",
         "silero_vad_16k_sequence", "dtln_1", "dtln_2"]
LARGE = ["magika_v3_3", "paraphrase_minilm_l3", "ppocrv4_det", "ppocrv4_rec"]
REFUSED = {"silero_vad_16k_op15": "If of node '/model/decoder/If': NNEF has no control flow"}
TOLERANCE = 1e-4
# What is written: arguments of the program, the same for the NNEF file and the dense ONNX file that it is compared with; ending of the NNEF file.
HALF = ["--sparsity", "0.5"]
WAYS = {
    "dense": (["convert"], ["--profile", "dense"], ".tar"),
    "16x1 70 %": (["prune", "--block", "16x1", "--sparsity", "0.7"], [], ".nnef.tgz"),
    "packed": (["convert"], [], ".nnef.tgz"),
    "16x4": (["prune", "--block", "16x4", *HALF], [], ""),
    "1x1": (["prune", "--block", "1x1", *HALF], [], ".nnef.tar"),
    "2:4": (["prune", "--nm", "2:4"], [], ".tgz"),
    "5x3": (["prune", "--block", "5x3", *HALF], [], ".nnef.tar"),
    "8x1 first f16": (["prune", "--block", "8x1", *HALF, "--values", "f16"], ["--index", "first-element"], ".nnef.tar"),
}
LARGE_WAYS = ["dense", "16x1 70 %"]


def check(program, model, way, folder):
    (command, *options), nnef_options, ending = WAYS[way]
    target, dense, again = (os.path.join(folder, name) for name in ("model" + ending, "dense.onnx", "again.onnx"))
    feeds, expected = tract_models.write(program, model, command, options, nnef_options, target, dense)
    peer.espalier(program, "convert", target, again, "-q", "--profile", "dense")
    size = sum(os.path.getsize(os.path.join(place, name)) for place, _, names in os.walk(target) for name in names) or os.path.getsize(target)
    in_tract = peer.tract_outputs("", target, feeds)
    return tract_models.worst(in_tract, expected), tract_models.worst(tract_models.run_onnx(again, feeds), expected), size


def is_refused(program, model, folder):
    """Refused by operator, node and reason, and no file is there."""
    target = os.path.join(folder, "model.nnef.tgz")
    text = peer.espalier(program, "convert", peer.need_shared("models", model, "model.onnx"), target, expect=1).stderr
    good = REFUSED[model] in text and text.count("\n") == 1 and not os.listdir(folder)
    print(f"{model:28} refused: {text.strip()}{'' if good else '  FAIL'}")
    return good


def main(program, models):
    faults = count = 0
    print(f"{'model':28} {'written as':14} {'bytes':>9}  {'tract':>8} {'read back':>9}")
    for model in models or SMALL + LARGE + list(REFUSED):
        for way in [None] if model in REFUSED else LARGE_WAYS if model in LARGE else WAYS:
            count += 1
            with tempfile.TemporaryDirectory() as folder:
                if way is None:
                    faults += not is_refused(program, model, folder)
                    continue
                try:
                    in_tract, again, size = check(program, model, way, folder)
                except Exception as error:  # noqa: BLE001
                    faults += 1
                    print(f"{model:28} {way:14} FAIL {peer.one_line(error, 500)}")
                    continue
            bad = not (in_tract <= TOLERANCE and again <= TOLERANCE)
            faults += bad
            print(f"{model:28} {way:14} {size:9}  {in_tract:8.1e} {again:9.1e}{'  FAIL' if bad else ''}", flush=True)
    return peer.verdict(count, faults)


if __name__ == "__main__":
    peer.need_shared("models")
    sys.exit(main(sys.argv[1], sys.argv[2:]))
