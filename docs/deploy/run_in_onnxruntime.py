#!/usr/bin/env python3
"""Runs a packed file in onnxruntime with espalier's operators: run_in_onnxruntime.py LIBRARY MODEL. Inputs are zeros, free extents 1."""
import sys

import numpy as np
import onnxruntime

NUMPY = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}

library, model = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.register_custom_ops_library(library)
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

feed = {}
for value in session.get_inputs():
    extents = [extent if isinstance(extent, int) else 1 for extent in value.shape]
    feed[value.name] = np.zeros(extents, NUMPY[value.type])
for value, found in zip(session.get_outputs(), session.run(None, feed)):
    print(value.name, found.shape, found.dtype)
