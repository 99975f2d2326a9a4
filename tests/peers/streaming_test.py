#!/usr/bin/env python3
"""States carried from block to block by --state: `run` gives what onnxruntime gives over all consecutive blocks of a streaming model's
calibration data, from the dense file and from the packed one.

streaming_test.py ESPALIER
"""
import os
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402

# model: (data input, state's input, state's output, data output)
MODELS = {
    "dtln_1": ("input_2", "input_3", "tf_op_layer_stack_2", "activation_2"),
    "dtln_2": ("input_4", "input_5", "tf_op_layer_stack_5", "conv1d_3"),
}
TOLERANCE = 1e-4  # relative to the output's largest value


def by_onnxruntime(model, names, blocks):
    session = peer.session(model)
    data, state_in, state_out, output = names
    shape = next(i.shape for i in session.get_inputs() if i.name == state_in)
    state = np.zeros(shape, np.float32)
    outputs = []
    for block in blocks:
        found, state = session.run([output, state_out], {data: block, state_in: state})
        outputs.append(found)
    return np.stack(outputs), state


def by_espalier(program, model, names, calib, folder):
    data, state_in, state_out, output = names
    peer.espalier(program, "run", model, "--inputs", calib, "--state", f"{state_in}={state_out}", "-o", folder, "-q")
    return (np.load(os.path.join(folder, f"output_{name}.npy")) for name in (output, state_out))


def main():
    program = os.path.abspath(sys.argv[1])
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, names in MODELS.items():
            dense = peer.need_shared("models", name, "model.onnx")
            calib = os.path.join(os.path.dirname(dense), "calib")
            blocks = np.load(os.path.join(calib, f"input_{names[0]}.npy"))
            blocks = blocks.reshape(-1, *(i.shape for i in peer.session(dense).get_inputs() if i.name == names[0]).__next__())
            pruned, stock = (os.path.join(folder, f"{name}{ending}") for ending in (".nnef.tgz", ".onnx"))
            common = ["prune", dense, "--block", "16x1", "--sparsity", "0.5", "--method", "l2", "-q", "--no-verify"]
            peer.espalier(program, *common, "-o", pruned)
            peer.espalier(program, *common, "-o", stock, "--profile", "dense")
            for what, ours, judge in (("dense", dense, dense), ("packed", pruned, stock)):
                expected, last = by_onnxruntime(judge, names, blocks)
                found, states = by_espalier(program, ours, names, calib, os.path.join(folder, f"{name}-{what}"))
                still = float(np.abs(expected[1:] - by_onnxruntime(judge, names, blocks[1:2])[0]).max())
                difference = peer.relative_difference([found.reshape(expected.shape), states.reshape(-1, *last.shape)[-1]], [expected, last])
                right = difference <= TOLERANCE and still > 0  # the states matter
                faults += not right
                print(f"{name:8} {what:7} {len(blocks):4} blocks, largest relative difference {difference:.1e}{'' if right else '  WRONG'}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
