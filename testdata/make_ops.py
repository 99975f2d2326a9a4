#!/usr/bin/env python3
"""Makes testdata/ops: one small model per case, with its inputs and the outputs that are expected.

  make_ops.py [--check]      --check compares instead of writing

testdata/ops/OPERATOR/CASE.onnx holds one node, CASE.npz the arrays input_0, ... and output_0, ... . The outputs come from
the ONNX reference evaluator; where it cannot run a node (sequence lengths, two directions), or is known to differ from the
specification, from onnxruntime. Where both can run it they must agree.
"""
import io
import os
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ops")
CASES = {}


def rand(*shape, seed=None, low=-1.0, high=1.0):
    generator = np.random.default_rng(len(CASES) * 131 + sum(shape) + len(shape) if seed is None else seed)
    return generator.uniform(low, high, shape).astype(np.float32)


def ints(*values, dtype=np.int64):
    return np.array(values, dtype=dtype)


def case(op, name, inputs, opset=17, outputs=1, source="both", **attributes):
    """`inputs` are arrays, None where left out; `outputs` a number or a list of which are named."""
    inputs = [None if x is None else np.asarray(x) for x in inputs]
    wanted = list(range(outputs)) if isinstance(outputs, int) else outputs
    names = [f"input_{i}" if x is not None else "" for i, x in enumerate(inputs)]
    out_names = [f"output_{i}" if i in wanted else "" for i in range(max(wanted) + 1)]
    node = helper.make_node(op, names, out_names, **attributes)
    graph = helper.make_graph(
        [node], f"{op}_{name}",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), list(x.shape))
         for n, x in zip(names, inputs) if x is not None],
        [helper.make_empty_tensor_value_info(n) for n in out_names if n])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="espalier",
                              ir_version=8 if opset <= 20 else 10)
    model = onnx.shape_inference.infer_shapes(model)
    for output in model.graph.output:
        if not output.type.HasField("tensor_type") or not output.type.tensor_type.elem_type:
            output.type.tensor_type.elem_type = TensorProto.FLOAT
    feed = {n: x for n, x in zip(names, inputs) if x is not None}
    named = [n for n in out_names if n]
    results = run_all(model, feed, named, source, f"{op}/{name}")
    CASES[f"{op}/{name}"] = (model.SerializeToString(), {**feed, **dict(zip(named, results))})


def run_all(model, feed, named, source, label):
    results = {}
    if source in ("both", "reference"):
        try:
            results["reference"] = ReferenceEvaluator(model).run(named, feed)
        except Exception as error:  # noqa: BLE001
            if source == "reference":
                raise
            print(f"{label}: the reference evaluator cannot: {type(error).__name__} {str(error)[:100]}")
    if source in ("both", "onnxruntime"):
        try:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            results["onnxruntime"] = session.run(named, feed)
        except Exception as error:  # noqa: BLE001
            if source == "onnxruntime":
                raise
            print(f"{label}: onnxruntime cannot: {str(error)[:120]}")
    if not results:
        raise SystemExit(f"{label}: nobody can run it")
    if len(results) == 2:
        for name, a, b in zip(named, results["reference"], results["onnxruntime"]):
            if a.shape != b.shape or not np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True):
                print(f"{label}: {name} differs: {a.shape} {b.shape}")
    return next(iter(results.values()))


def make_elementwise():
    x = rand(3, 5, low=-4, high=4)
    for op in ["Relu", "Sigmoid", "Tanh", "Exp", "Abs", "Neg", "Sign", "Erf", "Floor", "Ceil", "Round", "Sin", "Cos", "Tan",
               "Atan", "Sinh", "Cosh", "Asinh", "Softplus", "Softsign", "HardSigmoid", "LeakyRelu", "Elu", "Celu", "Selu",
               "ThresholdedRelu", "Reciprocal", "Identity", "IsNaN"]:
        case(op, "plain", [x])
    for op in ["HardSwish", "Mish"]:
        case(op, "plain", [x], opset=18)
    for op in ["Log", "Sqrt"]:
        case(op, "plain", [np.abs(x) + 0.1])
    for op in ["Asin", "Acos", "Atanh"]:
        case(op, "plain", [rand(7) * 0.9])
    case("Acosh", "plain", [rand(7, low=1, high=9)])
    case("Gelu", "erf", [x], opset=20)
    case("Gelu", "tanh", [x], opset=20, approximate="tanh")
    case("HardSigmoid", "alpha", [x], alpha=0.3, beta=0.4)
    case("LeakyRelu", "alpha", [x], alpha=0.3)
    case("Elu", "alpha", [x], alpha=0.3)
    case("Celu", "alpha", [x], alpha=0.3)
    case("Selu", "alpha", [x], alpha=1.3, gamma=0.7)
    case("ThresholdedRelu", "alpha", [x], alpha=0.3)
    case("Shrink", "plain", [x], lambd=1.5, bias=0.5)
    case("Abs", "i64", [ints(-3, 0, 5)])
    case("Neg", "i32", [ints(-3, 0, 5, dtype=np.int32)])
    case("Not", "plain", [np.array([[True, False, True]])])
    case("Tanh", "f64", [x.astype(np.float64)])
    case("Round", "halves", [np.array([0.5, 1.5, 2.5, -0.5, -1.5], np.float32)])
    case("Clip", "both", [x, np.float32(-1), np.float32(2)])
    case("Clip", "low", [x, np.float32(-1)])
    case("Clip", "high", [x, None, np.float32(2)])
    case("Clip", "opset7", [x], opset=7, min=-1.0, max=2.0, source="reference")
    case("Clip", "i64", [ints(-5, 0, 5), np.int64(-1), np.int64(3)])
    case("Dropout", "plain", [x], outputs=2)

    a, b = rand(2, 3, 4, 5), rand(2, 3, 4, 5)
    for op in ["Add", "Sub", "Mul", "Div"]:
        case(op, "same", [a, b])
        case(op, "scalar", [a, np.float32(2.5)])
        case(op, "scalar_left", [np.float32(2.5), b])
        case(op, "channel", [a, rand(3, 1, 1)])
        case(op, "row", [a, rand(5)])
        case(op, "both_sides", [rand(4, 1, 5), rand(1, 3, 1)])
        case(op, "more_axes", [rand(5), rand(2, 1, 5)])
        case(op, "i64", [ints(7, -7, 3), ints(2, 2, -2)])
    case("Add", "empty", [rand(0, 3), rand(1, 3)])
    case("Pow", "same", [np.abs(a), b])
    case("Pow", "square", [a, np.float32(2)])
    case("Pow", "integer_exponent", [a, ints(3)])
    case("Pow", "i64", [ints(2, 3, -2), ints(5, 2, 3)])
    case("Mod", "i64", [ints(7, -7, 7, -7), ints(3, 3, -3, -3)])
    case("Mod", "fmod", [rand(6, low=-5, high=5), rand(6, low=1, high=2)], fmod=1)
    case("PRelu", "channel", [a, rand(3, 1, 1)])
    for op in ["Max", "Min", "Sum", "Mean"]:
        case(op, "one", [a])
        case(op, "three", [a, rand(3, 1, 1), rand(5)])
    case("Max", "i64", [ints(1, 5), ints(3, 2)])
    for op in ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"]:
        case(op, "f32", [np.round(a * 2), np.round(b * 2)])
        case(op, "i64", [ints(1, 2, 3), ints(2)])
    case("Equal", "bool", [np.array([True, False]), np.array([True, True])])
    p, q = np.array([[True], [False]]), np.array([True, False, True])
    for op in ["And", "Or", "Xor"]:
        case(op, "broadcast", [p, q])
    case("Where", "broadcast", [q, rand(2, 3), rand(1, 3)])
    case("Where", "i64", [p, ints(1, 2), ints(3, 4)])


def make_shapes():
    x = rand(2, 3, 4)
    case("Reshape", "minus_one", [x, ints(0, -1)])
    case("Reshape", "allow_zero", [rand(0, 3), ints(3, 0)], allowzero=1)
    for axis in [0, 1, 2, 3, -1]:
        case("Flatten", f"axis_{axis}", [x], axis=axis)
    case("Squeeze", "input", [rand(1, 3, 1), ints(0)])
    case("Squeeze", "all", [rand(1, 3, 1)])
    case("Squeeze", "opset11", [rand(1, 3, 1)], opset=11, axes=[-1])
    case("Unsqueeze", "input", [x, ints(0, -1)])
    case("Unsqueeze", "opset11", [x], opset=11, axes=[1, 2])
    case("Shape", "plain", [x])
    case("Shape", "slice", [x], start=-2, end=10)
    case("Size", "plain", [x])
    case("ConstantOfShape", "plain", [ints(2, 3)])
    case("ConstantOfShape", "i64", [ints(4)], value=numpy_helper.from_array(ints(7)))
    case("Range", "i64", [np.int64(2), np.int64(11), np.int64(3)])
    case("Range", "f32", [np.float32(3), np.float32(-1), np.float32(-0.5)])
    case("Cast", "f32_i64", [rand(4, low=-9, high=9)], to=TensorProto.INT64)
    case("Cast", "i64_f32", [ints(-3, 4)], to=TensorProto.FLOAT)
    case("Cast", "f32_bool", [np.array([0, 0.5, -2], np.float32)], to=TensorProto.BOOL)
    case("Cast", "bool_f32", [q_()], to=TensorProto.FLOAT)
    case("Cast", "f32_f16", [rand(5)], to=TensorProto.FLOAT16)
    case("Cast", "f16_f32", [rand(5).astype(np.float16)], to=TensorProto.FLOAT)
    case("Cast", "f64_i32", [rand(5, low=-9, high=9).astype(np.float64)], to=TensorProto.INT32)
    case("Transpose", "reverse", [x])
    case("Transpose", "perm", [rand(2, 3, 4, 5)], perm=[0, 2, 3, 1])
    case("Transpose", "back", [rand(1, 33, 40, 2)], perm=[0, 3, 1, 2])
    case("Transpose", "ones", [rand(2, 1, 4)], perm=[1, 0, 2])
    case("Transpose", "i64", [np.arange(6).reshape(2, 3)], perm=[1, 0])
    case("Expand", "broadcast", [rand(3, 1), ints(2, 1, 4)])
    case("Tile", "plain", [rand(2, 3), ints(2, 3)])
    case("Concat", "axis_1", [rand(2, 3, 2), rand(2, 1, 2), rand(2, 4, 2)], axis=1)
    case("Concat", "negative", [rand(2, 3), rand(2, 2)], axis=-1)
    case("Split", "input", [rand(2, 7), ints(2, 5)], outputs=2, axis=1)
    case("Split", "equal", [rand(6, 2)], outputs=3)
    case("Split", "opset11", [rand(2, 7)], opset=11, outputs=2, axis=1, split=[3, 4])
    case("Split", "num_outputs", [rand(7, 2)], opset=18, outputs=3, num_outputs=3)
    case("Slice", "input", [rand(5, 6, 7), ints(1, -3), ints(4, 100), ints(0, 2), ints(2, 1)])
    case("Slice", "backwards", [rand(5, 6), ints(-1, 4), ints(-100, 0), ints(0, 1), ints(-1, -2)])
    case("Slice", "opset9", [rand(5, 6)], opset=9, starts=[1, 2], ends=[3, -1], source="reference")
    case("Slice", "nothing", [rand(5, 6), ints(3), ints(1)])
    case("Slice", "i64", [np.arange(10), ints(2), ints(8), ints(0), ints(3)])
    case("Trilu", "upper", [rand(2, 4, 5), np.int64(1)])
    case("Trilu", "lower", [rand(4, 3), np.int64(-1)], upper=0)
    case("DepthToSpace", "dcr", [rand(2, 8, 2, 3)], blocksize=2)
    case("DepthToSpace", "crd", [rand(2, 8, 2, 3)], blocksize=2, mode="CRD")
    case("SpaceToDepth", "plain", [rand(2, 2, 4, 6)], blocksize=2)
    pads = ints(0, 2, 1, 1, 0, 3)
    for mode in ["constant", "reflect", "edge"]:
        case("Pad", mode, [rand(2, 4, 5), pads], mode=mode)
    case("Pad", "wrap", [rand(2, 4, 5), pads], opset=19, mode="wrap")
    case("Pad", "value", [rand(2, 4, 5), pads, np.float32(1.5)])
    case("Pad", "axes", [rand(2, 4, 5), ints(1, 2), None, ints(-1)], opset=18)
    case("Pad", "crop", [rand(4, 5), ints(-1, 0, 2, -2)])
    case("Pad", "opset10", [rand(4, 5)], opset=10, pads=[1, 0, 0, 2], value=0.5, source="reference")
    case("Gather", "axis_0", [rand(4, 3), ints(0, -1, 2)])
    case("Gather", "axis_1", [rand(2, 4, 3), np.array([[0, 3], [1, -2]])], axis=1)
    case("Gather", "scalar", [ints(5, 6, 7), np.int64(1)])
    case("GatherElements", "axis_1", [rand(3, 4), np.array([[0, -1], [3, 2], [1, 1]])], axis=1)
    case("GatherND", "plain", [rand(2, 3, 4), np.array([[0, 1], [1, 2]])])
    case("GatherND", "batch", [rand(2, 3, 4), np.array([[1], [2]])], batch_dims=1)
    case("ScatterElements", "axis_1", [rand(3, 4), np.array([[0, 3], [1, 2]]), rand(2, 2)], axis=1, opset=18)
    case("ScatterElements", "add", [rand(3, 4), np.array([[0, 0], [1, 1]]), rand(2, 2)], axis=1, opset=18, reduction="add")
    case("ScatterND", "plain", [rand(4, 3), np.array([[0], [2]]), rand(2, 3)], opset=18)
    case("ScatterND", "mul", [rand(4, 3), np.array([[0], [0]]), rand(2, 3)], opset=18, reduction="mul")


def q_():
    return np.array([True, False, True])


def make_reductions():
    x = rand(2, 3, 4, 5)
    for op in ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
               "ReduceLogSumExp"]:
        case(op, "all", [x], opset=18)
        case(op, "last", [x, ints(-1)], opset=18)
        case(op, "first", [x, ints(0)], opset=18, keepdims=0)
        case(op, "middle", [x, ints(1, -1)], opset=18, keepdims=0)
        if op != "ReduceSum":
            case(op, "opset11", [x], opset=11, axes=[2, 3])
    case("ReduceLogSum", "last", [np.abs(x), ints(-1)], opset=18)
    case("ReduceSum", "opset13_noop", [x], opset=13, noop_with_empty_axes=1)
    case("ReduceSum", "i64", [np.arange(12).reshape(3, 4), ints(1)], opset=13)
    case("ReduceMax", "i64", [np.arange(12).reshape(3, 4)], opset=18)
    case("ArgMax", "axis", [np.round(x * 2)], axis=1)
    case("ArgMax", "last_index", [np.round(x * 2)], axis=-1, select_last_index=1, keepdims=0)
    case("ArgMin", "axis", [x], axis=2)
    case("CumSum", "plain", [x, np.int64(1)])
    case("CumSum", "exclusive_reverse", [x, np.int64(-1)], exclusive=1, reverse=1)
    for op in ["Softmax", "LogSoftmax"]:
        case(op, "last", [x * 8])
        case(op, "middle", [x], axis=1)
        case(op, "opset11", [x], opset=11, axis=2, source="onnxruntime")
    case("Hardmax", "last", [x])


def make_matrices():
    case("Gemm", "plain", [rand(3, 5), rand(5, 7), rand(7)])
    case("Gemm", "transposed", [rand(5, 3), rand(7, 5), rand(3, 1)], transA=1, transB=1, alpha=0.5, beta=2.0)
    case("Gemm", "no_bias", [rand(3, 5), rand(7, 5)], transB=1)
    case("Gemm", "scalar_bias", [rand(3, 5), rand(7, 5), rand(1)], transB=1)
    case("Gemm", "row", [rand(1, 37), rand(33, 37), rand(1, 33)], transB=1)
    case("MatMul", "matrices", [rand(4, 35), rand(35, 18)])
    case("MatMul", "tall", [rand(2, 3, 4, 6), rand(6, 5)])
    case("MatMul", "batched", [rand(2, 3, 4, 6), rand(2, 3, 6, 5)])
    case("MatMul", "broadcast", [rand(3, 4, 6), rand(2, 1, 6, 5)])
    case("MatMul", "left", [rand(4, 6), rand(3, 6, 5)])
    case("MatMul", "vector_left", [rand(6), rand(3, 6, 5)])
    case("MatMul", "vector_right", [rand(3, 4, 6), rand(6)])
    case("MatMul", "vectors", [rand(6), rand(6)])


def make_windows():
    x, w = rand(2, 4, 7, 9), rand(6, 4, 3, 3)
    case("Conv", "plain", [x, w, rand(6)])
    case("Conv", "strided", [x, w], strides=[2, 3], pads=[1, 0, 2, 1])
    case("Conv", "dilated", [x, w], dilations=[2, 3], pads=[1, 1, 1, 1])
    case("Conv", "grouped", [x, rand(6, 2, 3, 2), rand(6)], group=2, kernel_shape=[3, 2])
    case("Conv", "depthwise", [x, rand(8, 1, 3, 3), rand(8)], group=4, pads=[1, 1, 1, 1])
    case("Conv", "one", [x, rand(16, 4, 1, 1), rand(16)])
    case("Conv", "one_strided", [x, rand(16, 4, 1, 1)], strides=[2, 2])
    case("Conv", "line", [rand(2, 4, 20), rand(6, 4, 5), rand(6)], strides=[2], pads=[1, 3], dilations=[2])
    case("Conv", "same_upper", [x, w], auto_pad="SAME_UPPER", strides=[2, 2])
    case("Conv", "same_lower", [x, rand(6, 4, 4, 2)], auto_pad="SAME_LOWER")
    case("Conv", "valid", [x, w], auto_pad="VALID")
    t = rand(2, 4, 5, 6)
    case("ConvTranspose", "plain", [t, rand(4, 3, 3, 3), rand(3)])
    case("ConvTranspose", "strided", [t, rand(4, 3, 3, 2)], strides=[2, 3], pads=[1, 0, 0, 1], output_padding=[1, 2])
    case("ConvTranspose", "grouped", [t, rand(4, 3, 2, 2), rand(6)], group=2, strides=[2, 2])
    case("ConvTranspose", "dilated", [t, rand(4, 2, 3, 3)], dilations=[2, 2])
    case("ConvTranspose", "line", [rand(2, 4, 5), rand(4, 3, 3)], strides=[2])
    case("ConvTranspose", "output_shape", [t, rand(4, 2, 3, 3)], strides=[2, 2], output_shape=[10, 12], source="onnxruntime")
    case("ConvTranspose", "same_upper", [t, rand(4, 2, 3, 3)], strides=[2, 2], auto_pad="SAME_UPPER", source="onnxruntime")
    for op in ["MaxPool", "AveragePool"]:
        case(op, "plain", [x], kernel_shape=[2, 3])
        case(op, "strided", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        case(op, "ceil", [x], kernel_shape=[3, 2], strides=[2, 3], ceil_mode=1)
        case(op, "same_lower", [x], kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_LOWER", source="onnxruntime")
        case(op, "line", [rand(1, 3, 11)], kernel_shape=[3], strides=[2])
        case(op, "solid", [rand(1, 2, 4, 5, 6)], kernel_shape=[2, 2, 3])
    case("MaxPool", "dilated", [x], kernel_shape=[2, 2], dilations=[2, 3])
    case("MaxPool", "indices", [x], kernel_shape=[2, 2], strides=[2, 2], outputs=2)
    case("AveragePool", "with_pads", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
    case("AveragePool", "with_pads_ceil", [x], opset=19, kernel_shape=[3, 3], strides=[3, 2], pads=[1, 1, 1, 1],
         count_include_pad=1, ceil_mode=1, source="onnxruntime")
    case("GlobalAveragePool", "plain", [x])
    case("GlobalMaxPool", "plain", [x])
    scales = np.array([1, 1, 2, 1.5], np.float32)
    image = rand(1, 2, 5, 6)
    for mode in ["nearest", "linear", "cubic"]:
        for coordinates in ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]:
            case("Resize", f"{mode}_{coordinates}", [image, None, scales], opset=13, mode=mode,
                 coordinate_transformation_mode=coordinates)
    case("Resize", "sizes", [image, None, None, ints(1, 2, 3, 4)], opset=13, mode="linear")
    case("Resize", "floor", [image, None, scales], opset=13, mode="nearest", nearest_mode="floor",
         coordinate_transformation_mode="asymmetric")
    case("Resize", "axes", [image, None, np.array([0.6], np.float32)], opset=18, axes=[2], mode="linear")
    case("Resize", "opset10", [image, scales], opset=10, mode="nearest", source="onnxruntime")
    case("Upsample", "opset9", [image, scales], opset=9, mode="nearest", source="onnxruntime")


def make_normalizations():
    x = rand(2, 6, 4, 5)
    case("BatchNormalization", "plain", [x, rand(6), rand(6), rand(6), rand(6, low=0.1, high=2)])
    case("BatchNormalization", "opset7", [x, rand(6), rand(6), rand(6), rand(6, low=0.1, high=2)], opset=7, epsilon=0.01,
         source="onnxruntime")
    case("InstanceNormalization", "plain", [x, rand(6), rand(6)])
    case("LayerNormalization", "last", [x, rand(5), rand(5)])
    case("LayerNormalization", "axis_1", [x, rand(6, 4, 5)], axis=1, outputs=3)
    case("GroupNormalization", "opset21", [x, rand(6), rand(6)], opset=21, num_groups=3)
    case("RMSNormalization", "plain", [x, rand(5)], opset=23, source="reference")
    case("LpNormalization", "p1", [x], p=1, axis=1, source="onnxruntime")
    case("LpNormalization", "p2", [x])
    case("LRN", "plain", [x], size=3, alpha=0.1, source="onnxruntime")


def recurrent(op, gates, cases, extra_states):
    t, n, inputs, hidden = 5, 2, 6, 9
    for name, options in cases.items():
        options = dict(options)
        directions = 2 if options.get("direction") == "bidirectional" else 1
        layout = options.get("layout", 0)
        first = (n, t) if layout else (t, n)
        state = (n, directions, hidden) if layout else (directions, n, hidden)
        values = [rand(*first, inputs), rand(directions, gates * hidden, inputs), rand(directions, gates * hidden, hidden)]
        values.append(rand(directions, 2 * gates * hidden) if options.pop("bias", True) else None)
        lengths = options.pop("lengths", None)
        values.append(np.array(lengths, np.int32) if lengths else None)
        initial = options.pop("initial", False)
        for _ in range(extra_states):
            values.append(rand(*state) if initial else None)
        if options.pop("peepholes", False):
            values.append(rand(directions, 3 * hidden))
        while values[-1] is None:
            values.pop()
        outputs = options.pop("outputs", 1 + extra_states)
        source = options.pop("source", "both")
        case(op, name, values, hidden_size=hidden, outputs=outputs, source=source, **options)


def make_recurrent():
    both = {
        "plain": {},
        "no_bias": {"bias": False},
        "initial": {"initial": True, "outputs": [0]},
        "reverse": {"direction": "reverse", "source": "onnxruntime"},
        "bidirectional": {"direction": "bidirectional", "initial": True, "source": "onnxruntime"},
        "lengths": {"lengths": [3, 5], "initial": True, "source": "onnxruntime"},
        "lengths_both": {"lengths": [5, 2], "direction": "bidirectional", "source": "onnxruntime"},
        "clip": {"clip": 0.3, "source": "onnxruntime"},
        "layout": {"layout": 1, "initial": True},
        "last_only": {"outputs": [1]},
    }
    gru = dict(both)
    for name in ["plain", "initial", "bidirectional", "lengths_both", "reverse"]:
        gru[f"reset_after_{name}"] = {**both[name], "linear_before_reset": 1}
    gru["activations"] = {"activations": ["HardSigmoid", "Softsign"], "activation_alpha": [0.3], "activation_beta": [0.4],
                          "source": "onnxruntime"}
    recurrent("GRU", 3, gru, 1)
    lstm = dict(both)
    lstm["peepholes"] = {"peepholes": True, "initial": True}
    lstm["peepholes_both"] = {"peepholes": True, "initial": True, "direction": "bidirectional", "source": "onnxruntime"}
    lstm["activations"] = {"activations": ["HardSigmoid", "Softsign", "Elu"], "activation_alpha": [0.3, 0.7],
                           "activation_beta": [0.4], "source": "onnxruntime"}
    recurrent("LSTM", 4, lstm, 2)
    rnn = dict(both)
    rnn["activations"] = {"activations": ["Affine"], "activation_alpha": [0.3], "activation_beta": [0.1],
                          "source": "onnxruntime"}
    rnn["relu"] = {"activations": ["Relu"], "source": "onnxruntime"}
    recurrent("RNN", 1, rnn, 1)


def make_later():
    """Cases found since; at the end, so that the random values of the others stay what they are."""
    case("Slice", "in_front_backwards", [rand(5), ints(-9), ints(-9), ints(0), ints(-1)], source="onnxruntime")
    case("Conv", "column", [rand(2, 3, 11, 1), rand(5, 3, 4, 1), rand(5)], strides=[2, 1], pads=[1, 0, 2, 0])
    case("Conv", "column_of_planes", [rand(1, 3, 7, 4), rand(5, 3, 4, 1)])
    case("Conv", "column_one", [rand(1, 3, 7, 1), rand(5, 3, 1, 1)], strides=[2, 1])
    case("Conv", "line_of_one", [rand(1, 3, 1), rand(5, 3, 1)], strides=[2])
    double = lambda *shape: rand(*shape).astype(np.float64)  # noqa: E731
    case("Gemm", "f64", [double(5, 3), double(7, 5), double(7)], transA=1, transB=1, alpha=0.5)
    case("MatMul", "f64", [double(2, 3, 5), double(5, 4)])
    make_einsum()
    make_picks()
    make_quantize()


def make_einsum():
    einsum = lambda name, equation, *inputs, **more: case("Einsum", name, list(inputs), equation=equation, **more)  # noqa: E731
    einsum("matmul", "ij,jk->ik", rand(5, 7), rand(7, 3))
    einsum("implicit", "ki,jk", rand(7, 5), rand(3, 7))
    einsum("batch", "bij,bjk->bik", rand(3, 5, 7), rand(3, 7, 2))
    einsum("heads", "bqhd,bkhd->bhqk", rand(2, 5, 3, 7), rand(2, 4, 3, 7))
    einsum("heads_back", "bhqk,bkhd->bqhd", rand(2, 3, 5, 4), rand(2, 4, 3, 7))
    einsum("transpose", "...ij->...ji", rand(2, 3, 5))
    einsum("trace", "ii->", rand(5, 5))
    einsum("diagonal", "bii -> b i", rand(3, 4, 4))
    einsum("sum", "ij->j", rand(5, 3))
    einsum("outer", "i,j->ij", rand(5), rand(3))
    einsum("scalars", ",ij->ij", rand(), rand(5, 3))
    einsum("three", "ab,bc,cd->ad", rand(3, 5), rand(5, 2), rand(2, 7))
    einsum("three_summed", "ab,cd,ac->d", rand(3, 5), rand(2, 7), rand(3, 2))
    einsum("broadcast", "...ij,...jk->...ik", rand(3, 1, 5, 7), rand(4, 7, 2))
    einsum("capitals", "aB,Bc", rand(3, 5), rand(5, 2))
    einsum("empty_sum", "ij,jk->ik", rand(2, 0), rand(0, 3), source="reference")
    einsum("f64", "ij,ij->i", rand(5, 7).astype(np.float64), rand(5, 7).astype(np.float64))
    einsum("i64", "ij,jk->k", ints(1, -2, 3, 4, 5, -6).reshape(2, 3), ints(*range(12)).reshape(3, 4))


def make_picks():
    x = rand(3, 5, 4)
    case("TopK", "plain", [x, ints(3)], outputs=2)
    case("TopK", "smallest_middle", [x, ints(2)], outputs=2, axis=1, largest=0)
    case("TopK", "first_axis", [x, ints(1)], outputs=2, axis=0)
    case("TopK", "all", [x, ints(5)], outputs=2, axis=-2)
    case("TopK", "none", [x, ints(0)], outputs=2, source="reference")
    ties = np.array([[1, 2, 2, 1, 2], [3, 3, 3, 0, 0]], np.float32)
    case("TopK", "ties", [ties, ints(4)], outputs=2)
    case("TopK", "ties_smallest", [ties, ints(4)], outputs=2, largest=0)
    case("TopK", "i64", [ints(5, -3, 9, 2, 9, -8).reshape(2, 3), ints(2)], outputs=2)
    case("TopK", "opset_9", [x], opset=9, outputs=2, k=2, axis=1, source="onnxruntime")
    case("ReverseSequence", "time", [rand(5, 3, 2), ints(0, 5, 3)])
    case("ReverseSequence", "batch", [rand(3, 5), ints(1, 2, 5)], batch_axis=0, time_axis=1)
    case("Scatter", "plain", [rand(3, 4), ints(1, 0, 2, -1).reshape(2, 2), rand(2, 2)], opset=10, source="onnxruntime")
    case("Scatter", "axis", [rand(3, 4), ints(1, 3, 0).reshape(3, 1), rand(3, 1)], opset=10, axis=1, source="onnxruntime")
    edges = np.array([1, -np.inf, np.nan, np.inf, 0], np.float32)
    case("IsInf", "both", [edges], opset=10)
    case("IsInf", "negative", [edges], opset=10, detect_positive=0)
    case("IsInf", "positive", [edges], opset=10, detect_negative=0)
    for name, window in {"plain": {"kernel_shape": [3]}, "pads": {"kernel_shape": [3], "pads": [1, 2], "p": 3},
                         "strides": {"kernel_shape": [2], "strides": [3], "p": 1}}.items():
        case("LpPool", f"line_{name}", [rand(2, 3, 11)], source="onnxruntime", **window)
    case("LpPool", "plane", [rand(1, 2, 7, 9)], source="onnxruntime", kernel_shape=[3, 2], auto_pad="SAME_UPPER", p=2)
    case("LpPool", "dilated", [rand(1, 2, 9, 9)], opset=18, source="onnxruntime", kernel_shape=[3, 2], dilations=[2, 3])
    case("LpPool", "ceil", [rand(1, 2, 8)], opset=18, source="onnxruntime", kernel_shape=[3], strides=[2], ceil_mode=1)
    case("GlobalLpPool", "plain", [rand(2, 3, 5, 7)], source="onnxruntime")
    case("GlobalLpPool", "p3", [rand(2, 3, 5)], source="onnxruntime", p=3)
    plane, empty = rand(1, 2, 8, 6), np.zeros(0, np.float32)
    scales = np.array([0.5, 2 / 3], np.float32)
    for mode in ["linear", "cubic"]:
        case("Resize", f"antialias_{mode}", [plane, empty, scales], opset=18, mode=mode, antialias=1, axes=[2, 3], source="reference")
        case("Resize", f"antialias_{mode}_grow", [plane, empty, None, ints(12, 3)], opset=18, mode=mode, antialias=1, axes=[2, 3],
             source="reference")
        case("Resize", f"antialias_{mode}_outside", [plane, empty, None, ints(3, 5)], opset=18, mode=mode, antialias=1, axes=[2, 3],
             exclude_outside=1, source="reference")
        case("Resize", f"crop_{mode}", [plane, np.array([0, 0, 0.4, -0.2, 1, 1, 0.9, 1.1], np.float32), None, ints(1, 2, 5, 7)], opset=18,
             mode=mode, coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=7.5, source="reference")
    case("Resize", "crop_nearest", [plane, np.array([0.2, 0.1, 0.8, 1.4], np.float32), None, ints(3, 1)], opset=18, axes=[3, 2],
         mode="nearest", coordinate_transformation_mode="tf_crop_and_resize", source="reference")


def make_quantize():
    """Values away from ties of rounding, but for one case of them."""
    for kind, zero in {"u8": np.uint8(120), "i8": np.int8(-3), "u16": np.uint16(30000), "i16": np.int16(-7)}.items():
        opset = 13 if kind.endswith("8") else 21
        x = rand(2, 5, 3, low=-3, high=3)
        case("QuantizeLinear", kind, [x, np.float32(0.021), zero], opset=opset)
        q = np.arange(30).reshape(2, 5, 3).astype(zero.dtype) * 7
        case("DequantizeLinear", kind, [q, np.float32(0.021), zero], opset=opset)
        scales = rand(5, low=0.01, high=0.03)
        zeros = np.full(5, zero, zero.dtype) + np.arange(5).astype(zero.dtype)
        case("QuantizeLinear", f"{kind}_axis", [x, scales, zeros], opset=opset, axis=-2)
        case("DequantizeLinear", f"{kind}_axis", [q, scales, zeros], opset=opset)
    case("QuantizeLinear", "ties", [np.array([0.5, 1.5, -0.5, 2.5, 1e9, -1e9], np.float32), np.float32(1), np.uint8(2)], opset=13)
    case("QuantizeLinear", "no_zero", [rand(7, low=0, high=9), np.float32(0.04)], opset=13)
    blocks = rand(2, 3, 5, low=0.01, high=0.03)
    case("QuantizeLinear", "blocked", [rand(2, 7, 5), blocks, np.zeros((2, 3, 5), np.int8)], opset=21, block_size=3)
    case("DequantizeLinear", "blocked", [np.arange(70).reshape(2, 7, 5).astype(np.int8), blocks], opset=21, block_size=3)
    case("DequantizeLinear", "i32", [ints(5, -3, 100000, dtype=np.int32), np.float32(0.5)], opset=13)
    case("DynamicQuantizeLinear", "plain", [rand(3, 7, low=-1, high=3)], outputs=3)
    case("DynamicQuantizeLinear", "positive", [rand(3, 7, low=1, high=3)], outputs=3)
    case("DynamicQuantizeLinear", "zeros", [np.zeros(5, np.float32)], outputs=3, source="reference")  # onnxruntime: another scale


def main():
    for make in [make_elementwise, make_shapes, make_reductions, make_matrices, make_windows, make_normalizations,
                 make_recurrent, make_later]:
        make()
    wrong = 0
    for name, (model, arrays) in CASES.items():
        path = os.path.join(HERE, name)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        if "--check" in sys.argv:
            with np.load(path + ".npz") as old:
                same = all(np.allclose(old[k], v, rtol=1e-5, atol=1e-6, equal_nan=True) for k, v in arrays.items())
            if not same:
                print(f"{name}: differs")
                wrong += 1
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".onnx", "wb") as file:
            file.write(model)
        with open(path + ".npz", "wb") as file:
            file.write(buffer.getvalue())
    print(f"{len(CASES)} cases")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
