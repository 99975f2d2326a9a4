"""Masks of torch and Keras are those of the exported file: order of gates, axes and names (espalier.layouts), and through NNEF and back."""
import pathlib
import re

import espalier
import numpy as np
import onnx
import onnxruntime
import pytest
from espalier import layouts, masks
from onnx import helper, numpy_helper

UNITS, INPUTS = 32, 48


def blocks(random, rows, cols):
    return np.repeat(random.random((rows // 16, cols)) < 0.4, 16, 0)


def torch_state(random, directions=("", "_reverse")):
    """Weights as torch's modules name and lay them out, and masks of 16x1 blocks for each."""
    shapes = {"fc.weight": (UNITS, INPUTS), "square.weight": (UNITS, UNITS), "conv.weight": (UNITS, 16, 3, 3), "fc.bias": (UNITS,)}
    for name, gates, suffixes in (("gru", 3, ("",)), ("lstm", 4, directions), ("rnn", 1, ("",))):
        for suffix in suffixes:
            shapes[f"{name}.weight_ih_l0{suffix}"], shapes[f"{name}.weight_hh_l0{suffix}"] = (gates * UNITS, INPUTS), (gates * UNITS, UNITS)
    state = {name: random.standard_normal(shape).astype(np.float32) / 4 for name, shape in shapes.items()}
    kept = {name: blocks(random, w.shape[0], w.size // w.shape[0]).reshape(w.shape) for name, w in state.items() if w.ndim > 1}
    return state, kept


def gates(array, order):
    """Independent of the package: gate by gate."""
    parts = np.split(array, len(order))
    return np.concatenate([parts[i] for i in order])[None]


def exported(state):
    """What torch's exporter makes of it: names of its own, gates in ONNX's order, Linear as a transposed MatMul or as Gemm; as they come, name -> array."""
    zrh, iofc = (1, 0, 2), (0, 3, 1, 2)
    suffixes = [suffix for suffix in ("", "_reverse") if f"lstm.weight_ih_l0{suffix}" in state]
    both = [np.concatenate([gates(state[f"lstm.weight_{which}_l0{suffix}"], iofc) for suffix in suffixes]) for which in ("ih", "hh")]
    return {
        "onnx::MatMul_7": ("fc.weight", state["fc.weight"].T), "onnx::MatMul_8": ("square.weight", state["square.weight"].T),
        "gemm.w": ("square.weight", state["square.weight"]), "conv.weight": ("conv.weight", state["conv.weight"]),
        "onnx::GRU_1": ("gru.weight_ih_l0", gates(state["gru.weight_ih_l0"], zrh)), "onnx::GRU_2": ("gru.weight_hh_l0", gates(state["gru.weight_hh_l0"], zrh)),
        "onnx::LSTM_3": ("lstm.weight_ih_l0", both[0]), "onnx::LSTM_4": ("lstm.weight_hh_l0", both[1]),
        "onnx::RNN_5": ("rnn.weight_ih_l0", state["rnn.weight_ih_l0"][None]), "onnx::RNN_6": ("rnn.weight_hh_l0", state["rnn.weight_hh_l0"][None]),
    }


def save(path, weights):
    """One operator after the other on inputs of their own, so that each weight is read as its framework's layer reads it."""
    node = helper.make_node
    nodes = [
        node("MatMul", ["x", "onnx::MatMul_7"], ["a"]), node("MatMul", ["a", "onnx::MatMul_8"], ["b"]), node("Gemm", ["b", "gemm.w"], ["y0"], transB=1),
        node("Conv", ["image", "conv.weight"], ["y1"], pads=[1] * 4),
        node("GRU", ["steps", "onnx::GRU_1", "onnx::GRU_2"], ["y2"], hidden_size=UNITS, linear_before_reset=1),
        node("LSTM", ["steps", "onnx::LSTM_3", "onnx::LSTM_4"], ["y3"], hidden_size=UNITS,
             direction="bidirectional" if len(weights["onnx::LSTM_3"]) == 2 else "forward"),
        node("RNN", ["steps", "onnx::RNN_5", "onnx::RNN_6"], ["y4"], hidden_size=UNITS),
    ]
    shapes = {"x": [2, INPUTS], "image": [1, 16, 6, 6], "steps": [4, 1, INPUTS]}
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(n, 1, s) for n, s in shapes.items()],
                              [helper.make_tensor_value_info(f"y{i}", 1, None) for i in range(5)],
                              [numpy_helper.from_array(np.ascontiguousarray(w), n) for n, w in weights.items()])
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return shapes


def dense(path, folder):
    """The arrays of a file, whatever it is."""
    out = folder / "dense_again.onnx"
    espalier.convert(path, out, profile="dense", warning=None, note=None)
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(out).graph.initializer}


def made(random, tmp_path, **options):
    state, kept = torch_state(random, **options)
    named = exported(state)
    path = tmp_path / "exported.onnx"
    shapes = save(path, {name: array for name, (_, array) in named.items()})
    masked = exported({name: np.where(kept[name], w, 0) if name in kept else w for name, w in state.items()})
    return path, state, kept, {name: array for name, (_, array) in masked.items()}, shapes


@pytest.fixture
def model(random, tmp_path):
    return made(random, tmp_path)


@pytest.mark.parametrize("kind", [bool, np.uint8, np.float32])
def test_masks_of_a_torch_state_dict_prune_the_exported_file(model, tmp_path, kind):
    path, state, kept, expected, shapes = model
    given = {name + ("_mask" if kind is np.float32 else ""): mask.astype(kind) for name, mask in kept.items()}
    found = layouts.masks_for(path, state, given)
    assert set(found) == set(expected)
    espalier.apply_masks(path, found, tmp_path / "packed.onnx")
    pruned = dense(tmp_path / "packed.onnx", tmp_path)
    for name, array in expected.items():
        np.testing.assert_array_equal(pruned[name], array, err_msg=name)
    # onnxruntime computes with the packed file what it computes with the arrays that NumPy masked.
    save(tmp_path / "numpy.onnx", expected)
    feeds = {name: np.random.default_rng(1).standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    ours, theirs = (onnxruntime.InferenceSession(tmp_path / f, providers=["CPUExecutionProvider"]).run(None, feeds) for f in ("packed.onnx", "numpy.onnx"))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_lines_of_the_page(model, tmp_path, monkeypatch):
    path, state, kept, expected, _ = model
    path.rename(tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    page = (pathlib.Path(__file__).resolve().parents[2] / "docs/howto/train.md").read_text()
    (block,) = (b for b in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "masks_for" in b)
    exec(compile(block, "train.md", "exec"), {"espalier": espalier, "weights": state, "masks": kept})
    np.testing.assert_array_equal(dense(tmp_path / "pruned.onnx", tmp_path)["onnx::GRU_2"], expected["onnx::GRU_2"])


def test_masks_under_the_exporters_names_are_put_into_its_order(model, tmp_path):
    """The names are known: from_torch gives the order of gates, the program the axes."""
    path, _, kept, expected, _ = model
    source = {name: source for name, (source, _) in exported(torch_state(np.random.default_rng(0))[0]).items()}
    arranged = layouts.from_torch(kept)
    espalier.apply_masks(path, {name: arranged[source[name]] for name in expected}, tmp_path / "packed.onnx", outputs_first=True)
    pruned = dense(tmp_path / "packed.onnx", tmp_path)
    for name, array in expected.items():
        np.testing.assert_array_equal(pruned[name], array, err_msg=name)


def test_masks_go_to_nnef_and_back(random, tmp_path):
    """ONNX -> NNEF -> ONNX: a mask exported from one prunes the same elements in the other, square weights too."""
    path, state, kept, expected, _ = made(random, tmp_path, directions=("",))
    found = layouts.masks_for(path, state, kept)
    espalier.apply_masks(path, found, tmp_path / "a.onnx")
    for profile in ("tract", "operator"):
        espalier.convert(path, tmp_path / "dense.nnef.tgz", profile="dense", warning=None, note=None)
        espalier.apply_masks(tmp_path / "dense.nnef.tgz", espalier.masks_of(tmp_path / "a.onnx"), tmp_path / "b.nnef.tgz")
        espalier.convert(tmp_path / "a.onnx", tmp_path / "c.nnef.tgz", profile=profile, warning=None, note=None)
        for nnef in ("b.nnef.tgz", "c.nnef.tgz"):
            assert espalier.verify(tmp_path / "a.onnx", tmp_path / nnef)["ok"]
            assert espalier.diff(tmp_path / "a.onnx", tmp_path / nnef)["weights"] == []
            espalier.apply_masks(path, espalier.masks_of(tmp_path / nnef), tmp_path / "d.onnx")
            pruned = dense(tmp_path / "d.onnx", tmp_path)
            for name, array in expected.items():
                np.testing.assert_array_equal(pruned[name], array, err_msg=f"{nnef} {name}")
    # The masks say so: of a weight that is stored transposed it is the other axis.
    axes = [espalier.masks_of(tmp_path / file).outputs_axis["onnx::MatMul_8"] for file in ("a.onnx", "b.nnef.tgz")]
    assert axes == [1, 0]


def test_masks_of_keras(random, tmp_path):
    """Kernels [inputs, gates * units], z r h of a GRU, i f c o of an LSTM."""
    shapes = {"gru/kernel": (INPUTS, 3 * UNITS), "gru/recurrent_kernel": (UNITS, 3 * UNITS), "lstm/kernel": (INPUTS, 4 * UNITS),
              "lstm/recurrent_kernel": (UNITS, 4 * UNITS), "dense/kernel": (UNITS, UNITS)}
    weights = {name: random.standard_normal(shape).astype(np.float32) / 4 for name, shape in shapes.items()}
    kept = {name: blocks(random, w.shape[1], w.shape[0]).T for name, w in weights.items()}
    arranged = layouts.from_keras(weights)
    for name in ("kernel", "recurrent_kernel"):
        np.testing.assert_array_equal(arranged[f"gru/{name}"], weights[f"gru/{name}"].T)
        i, f, c, o = np.split(weights[f"lstm/{name}"].T, 4)
        np.testing.assert_array_equal(arranged[f"lstm/{name}"], np.concatenate([i, o, f, c]))
    onnx_weights = {"gk": arranged["gru/kernel"][None], "gr": arranged["gru/recurrent_kernel"][None], "lk": arranged["lstm/kernel"][None],
                    "lr": arranged["lstm/recurrent_kernel"][None], "d": weights["dense/kernel"], "step": weights["lstm/kernel"]}
    node = helper.make_node
    nodes = [node("GRU", ["x", "gk", "gr"], ["a"], hidden_size=UNITS), node("LSTM", ["x", "lk", "lr"], ["b"], hidden_size=UNITS), node("MatMul", ["a", "d"], ["c"]),
             node("MatMul", ["x", "step"], ["e"])]  # a step of the layer spelled out: the kernel as Keras has it
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, [4, 1, INPUTS])], [helper.make_tensor_value_info(n, 1, None) for n in "bce"],
                              [numpy_helper.from_array(np.ascontiguousarray(w), n) for n, w in onnx_weights.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    found = layouts.masks_for(tmp_path / "m.onnx", weights, kept, framework="keras")
    assert set(found) == set(onnx_weights)
    by_name = layouts.from_keras(kept)
    np.testing.assert_array_equal(found["lr"][0], by_name["lstm/recurrent_kernel"])
    np.testing.assert_array_equal(found["step"], kept["lstm/kernel"])
    np.testing.assert_array_equal(found["d"], kept["dense/kernel"])
    espalier.apply_masks(tmp_path / "m.onnx", found, tmp_path / "p.onnx")
    np.testing.assert_array_equal(dense(tmp_path / "p.onnx", tmp_path)["step"], np.where(kept["lstm/kernel"], weights["lstm/kernel"], 0))


def test_what_fits_nothing_is_refused(model, tmp_path, random):
    path, state, kept, _, _ = model
    with pytest.raises(espalier.FormatError, match="no such weight.*it has: onnx::MatMul_7"):
        espalier.apply_masks(path, {"fc.weight": kept["fc.weight"]}, tmp_path / "o.onnx")
    with pytest.raises(espalier.FormatError, match="value 0.5 at index 1, expected 0 .dropped. or 1 .kept."):
        espalier.apply_masks(path, {"gemm.w": np.array([1, 0.5])}, tmp_path / "o.onnx")
    with pytest.raises(espalier.UsageError, match="type <U1"):
        espalier.apply_masks(path, {"gemm.w": np.array(["a"])}, tmp_path / "o.onnx")
    with pytest.raises(espalier.UsageError, match="no weight of .* has its values; the file has onnx::MatMul_7"):
        layouts.masks_for(path, state | {"fc.weight": state["fc.weight"] + 1}, {"fc.weight": kept["fc.weight"]})
    with pytest.raises(espalier.UsageError, match="a weight of shape"):
        layouts.masks_for(path, state, {"fc.weight": kept["square.weight"]})
    with pytest.raises(espalier.UsageError, match="weight_hh_l0 is missing"):
        layouts.from_torch({"gru.weight_ih_l0": state["gru.weight_ih_l0"]})
    with pytest.raises(espalier.UsageError, match="without projection"):
        layouts.from_torch({"l.weight_ih_l0": np.zeros((64, 8)), "l.weight_hh_l0": np.zeros((64, 5))})
    with pytest.raises(espalier.UsageError):
        layouts.gates_in_order(np.zeros((10, 3)), 3, "torch")
    assert masks.sparsity(kept["fc.weight"]) > 0.4
    assert not (tmp_path / "o.onnx").exists()
