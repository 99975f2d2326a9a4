#!/usr/bin/env bash
# onnx 1.23.2: its version converter changes what linear Upsample and Resize compute
#
# onnxruntime 1.32.0 computes linear Upsample (opset 9) and Resize (opset 10) with a place i of the result at i / scale
# of the input, which Resize calls asymmetric from opset 11 on; the texts of 9 and 10 name no rule.
# onnx.version_converter goes to 11 and adds no coordinate_transformation_mode, so that half_pixel is in force: 0 1 2 3
# by 2 gave 0 0.5 1 ... 3 3 and gives 0 0.25 0.75 ... 2.75 3, without an error. With asymmetric set by hand it is the
# same as before; in nearest mode nothing changes.
#
# Installs the packages below in a temporary folder and ends with 0 while the behaviour is as described.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
cd "$work"
"$work/venv/bin/python" - <<'PY'
import numpy as np, onnx, onnxruntime
from onnx import helper, numpy_helper, version_converter


def run(model):
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0].ravel()


def model(operator, opset, mode):
    graph = helper.make_graph([helper.make_node(operator, ["x", "s"], ["y"], mode=mode)], "g", [helper.make_tensor_value_info("x", 1, [1, 1, 1, 4])],
                              [helper.make_tensor_value_info("y", 1, [1, 1, 1, 8])], [numpy_helper.from_array(np.array([1, 1, 1, 2], np.float32), "s")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=5)


x = np.arange(4, dtype=np.float32).reshape(1, 1, 1, 4)
asymmetric = np.interp(np.arange(8) / 2, np.arange(4), x.ravel())
half_pixel = np.interp((np.arange(8) + 0.5) / 2 - 0.5, np.arange(4), x.ravel())
for operator, opset in (("Upsample", 9), ("Resize", 10)):
    nearest = model(operator, opset, "nearest")
    assert np.array_equal(run(nearest), run(version_converter.convert_version(nearest, 11)))
    old = model(operator, opset, "linear")
    new = version_converter.convert_version(old, 11)
    resize = new.graph.node[-1]
    assert resize.op_type == "Resize" and [attribute.name for attribute in resize.attribute] == ["mode"], resize
    assert np.abs(run(old) - asymmetric).max() < 1e-6
    given = run(new)
    assert np.abs(given - half_pixel).max() < 1e-6 and np.abs(given - asymmetric).max() > 0.2, given
    print(f"as described: {operator}: {asymmetric[:4]} becomes {given[:4]}")
    resize.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
    assert np.abs(run(new) - asymmetric).max() < 1e-6
PY
