#!/usr/bin/env python3
"""The models of ../shared/models without recurrent operators as NNEF in older versions of tract against ONNX in onnxruntime, dense and pruned.

    tract_versions_test.py ESPALIER [MODEL...]
"""
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402
import tract_models  # noqa: E402

VERSIONS = ["0.22.4", "0.21.19"]  # of scripts/setup
MODELS = ["mlp_digits", "cnn_digits", "dtln_2", "magika_v3_3", "paraphrase_minilm_l3", "ppocrv4_det", "ppocrv4_rec"]
WAYS = {"dense": ("convert", [], ["--profile", "dense"]), "16x1 70 %": ("prune", ["--block", "16x1", "--sparsity", "0.7"], [])}
TOLERANCE = 1e-4


def main(program, models):
    faults = count = 0
    print(f"{'model':28} {'written as':14} " + " ".join(f"{v:>9}" for v in VERSIONS))
    for model in models or MODELS:
        for way, (command, options, nnef_options) in WAYS.items():
            cells = []
            with tempfile.TemporaryDirectory() as folder:
                target, dense = os.path.join(folder, "model.nnef.tgz"), os.path.join(folder, "dense.onnx")
                feeds, expected = tract_models.write(program, model, command, options, nnef_options, target, dense)
                for version in VERSIONS:
                    count += 1
                    try:
                        difference = tract_models.worst(peer.tract_outputs(version, target, feeds), expected)
                        fault = "" if difference <= TOLERANCE else " FAIL"
                        cells.append(f"{difference:9.1e}{fault}")
                    except RuntimeError as error:
                        fault = f"FAIL {error}"
                        cells.append(fault)
                    faults += bool(fault)
            print(f"{model:28} {way:14} {' '.join(cells)}", flush=True)
    return peer.verdict(count, faults)


if __name__ == "__main__":
    peer.need_shared("models")
    sys.exit(main(sys.argv[1], sys.argv[2:]))
