"""espalier.Session against onnxruntime; buffers, streams, threads, memory, errors."""
import gc
import resource
import subprocess
import sys
import threading
import time

import espalier
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

TOLERANCE = 2e-6


def bands(random, steps=100):
    return random.standard_normal((1, steps, 32)).astype(np.float32)


def reference(path, feed):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feed)


def one_node(op, dtype, dims=("n",)):
    """The bytes of a model of one operator, y = op(x)."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", [value("x", dtype, dims)], [value("y", dtype, dims)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def test_declares_what_onnxruntime_declares(bandgru, shared_model):
    for path in (bandgru, shared_model("paraphrase_minilm_l3"), shared_model("silero_vad_16k_op15")):
        ours, theirs = espalier.Session(path), onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for a, b in ((ours.get_inputs(), theirs.get_inputs()), (ours.get_outputs(), theirs.get_outputs())):
            assert [(x.name, x.type) for x in a] == [(x.name, x.type) for x in b]
        for a, b in zip(ours.get_inputs(), theirs.get_inputs(), strict=True):
            assert a.shape == b.shape


def test_computes_what_onnxruntime_computes(bandgru, random):
    session, x = espalier.Session(bandgru), bands(random)
    expected = reference(bandgru, {"bands": x})
    found = session.run(None, {"bands": x})
    assert len(found) == len(expected) == 1
    np.testing.assert_allclose(found[0], expected[0], atol=TOLERANCE)
    # Not the memory of the session: a second run leaves it alone.
    before = found[0].copy()
    session.run(["gains"], {"bands": -x})
    np.testing.assert_array_equal(found[0], before)


def test_many_inputs_and_types(shared_model, random):
    path = shared_model("paraphrase_minilm_l3")
    feed = {"input_ids": random.integers(1, 2000, (1, 16)), "attention_mask": np.ones((1, 16), np.int64)}
    found, expected = espalier.Session(path, threads=2).run(None, feed), reference(path, feed)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize(("name", "dtype"), [("FLOAT", "f4"), ("FLOAT16", "f2"), ("INT64", "i8"), ("INT32", "i4"), ("INT8", "i1")])
def test_types(name, dtype):
    x = np.arange(-3, 4).astype(dtype)
    (y,) = espalier.Session(one_node("Neg", getattr(TensorProto, name))).run(None, {"x": x})
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, -x)


def test_bool():
    (y,) = espalier.Session(one_node("Not", TensorProto.BOOL)).run(None, {"x": np.array([True, False])})
    assert y.dtype == np.bool_
    assert y.tolist() == [False, True]


def test_order_in_memory_does_not_matter(bandgru, random):
    x = bands(random)
    session = espalier.Session(bandgru)
    (straight,), (strided,) = session.run(None, {"bands": x}), session.run(None, {"bands": np.asfortranarray(x)})
    np.testing.assert_array_equal(straight, strided)


def test_buffers_are_read_and_written_where_they_lie(bandgru, random):
    x, y = np.zeros((1, 1, 32), np.float32), np.zeros((1, 1, 32), np.float32)
    session = espalier.Session(bandgru)
    session.bind_input("bands", x)
    session.bind_output("gains", y)
    for _ in range(3):
        x[:] = bands(random, 1)
        session.step()
        np.testing.assert_allclose(y, reference(bandgru, {"bands": x})[0], atol=TOLERANCE)
        np.testing.assert_array_equal(y, session.output("gains"))
    session.bind_output("gains", None)
    kept = y.copy()
    x[:] = 3
    session.step()
    np.testing.assert_array_equal(y, kept)


def test_bound_arrays_are_kept_alive(bandgru):
    session = espalier.Session(bandgru)
    session.bind_input("bands", np.full((1, 1, 32), 0.5, np.float32))
    session.bind_output("gains", np.zeros((1, 1, 32), np.float32))
    gc.collect()
    junk = [np.full((1, 1, 32), 9, np.float32) for _ in range(200)]
    session.step()
    np.testing.assert_allclose(session.output("gains"), reference(bandgru, {"bands": np.full((1, 1, 32), 0.5, np.float32)})[0], atol=TOLERANCE)
    assert len(junk) == 200


def test_a_view_shows_memory_and_holds_back_runs(bandgru, random):
    session = espalier.Session(bandgru)
    x = bands(random, 1)
    session.bind_input("bands", x)
    session.step()
    view = session.view("gains")
    np.testing.assert_array_equal(view, session.output("gains"))
    assert not view.flags.writeable
    for call in (session.step, lambda: session.run(None, {"bands": x}), lambda: session.bind_input("bands", x)):
        with pytest.raises(espalier.UsageError, match=r"1 of its outputs is still used by an array of view\(\)"):
            call()
    part = view[0]
    del view
    with pytest.raises(espalier.UsageError):
        session.step()
    del part
    session.step()
    # It outlives the session.
    view = session.view("gains")
    expected = session.output("gains")
    del session
    gc.collect()
    np.testing.assert_array_equal(view, expected)


def test_stream_goes_on_from_run_to_run(bandgru, random):
    x = bands(random, 20)
    (whole,) = espalier.Session(bandgru).run(None, {"bands": x})
    session = espalier.Session(bandgru, keep_state=True)
    for _ in range(2):
        steps = [session.run(None, {"bands": x[:, t : t + 1]})[0] for t in range(20)]
        np.testing.assert_allclose(np.concatenate(steps, 1), whole, atol=TOLERANCE)
        session.reset()


def test_states_are_carried(shared_model, random):
    path = shared_model("dtln_1")
    states = [(a.name, b.name) for a, b in zip(espalier.Session(path).get_inputs()[1:], espalier.Session(path).get_outputs()[1:], strict=True)]
    stream, plain = espalier.Session(path), espalier.Session(path)
    first = plain.get_inputs()[0]
    held = {arg.name: np.zeros([e if isinstance(e, int) else 1 for e in arg.shape], np.float32) for arg in plain.get_inputs()[1:]}
    for state in states:
        stream.carry(*state)
    for _ in range(3):
        x = np.abs(random.standard_normal([e if isinstance(e, int) else 1 for e in first.shape])).astype(np.float32)
        expected, *after = plain.run(None, {first.name: x} | held)
        (found,) = stream.run([plain.get_outputs()[0].name], {first.name: x})
        np.testing.assert_array_equal(found, expected)
        held = dict(zip(held, after, strict=True))


MEMORY = """
import resource, sys
import numpy as np, espalier
from onnx import TensorProto, helper
value = helper.make_tensor_value_info
graph = helper.make_graph([helper.make_node("ReduceMax", ["x"], ["y"], keepdims=0)], "g", [value("x", TensorProto.FLOAT, ["n"])], [value("y", TensorProto.FLOAT, [])])
session = espalier.Session(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
session.run(None, {"x": np.ones(1000, np.float32)})
x = np.ones(1 << 28, np.float32)  # 1 GiB
x[12345] = 7
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
if sys.argv[1] == "run":
    (y,) = session.run(None, {"x": x})
else:
    session.bind_input("x", x)
    session.step()
    y = session.output("y")
assert y == 7, y
print(peak() - before)
"""


@pytest.mark.parametrize("way", ["run", "bind"])
def test_a_large_input_is_not_copied(way):
    done = subprocess.run([sys.executable, "-c", MEMORY, way], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 16 << 20


def test_two_sessions_run_at_once(denoise, random):
    """While a run is going on in one thread, Python goes on in another, and a second session runs."""
    x = bands(random, 20000)
    sessions = [espalier.Session(denoise) for _ in range(2)]
    expected = sessions[0].run(None, {"bands": x})[0]
    spans, found = [None, None], [None, None]

    def work(index):
        start = time.perf_counter()
        found[index] = sessions[index].run(None, {"bands": x})[0]
        spans[index] = (start, time.perf_counter())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    turns = 0
    while any(thread.is_alive() for thread in threads):
        turns += 1
        time.sleep(0.001)
    for thread in threads:
        thread.join()
    (a, b), (c, d) = spans
    assert min(b, d) - max(a, c) > 0.5 * min(b - a, d - c), spans  # one began long before the other ended
    assert turns > 10
    for y in found:
        np.testing.assert_array_equal(y, expected)


def test_one_session_serves_many_threads(bandgru, random):
    session = espalier.Session(bandgru)
    inputs = [bands(random, 30) for _ in range(8)]
    expected = [session.run(None, {"bands": x})[0] for x in inputs]
    found = [[] for _ in inputs]
    threads = [threading.Thread(target=lambda i=i: found[i].extend(session.run(None, {"bands": inputs[i]})[0] for _ in range(20))) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for results, y in zip(found, expected, strict=True):
        assert len(results) == 20
        for result in results:
            np.testing.assert_array_equal(result, y)


def test_profile(bandgru, random):
    session = espalier.Session(bandgru, profile=True)
    session.run(None, {"bands": bands(random)})
    layers = session.profile()
    assert sum(layer.seconds for layer in layers) > 0
    assert "GRU" in {layer.op for layer in layers}
    assert session.weight_bytes > 0
    assert session.value_bytes > 0
    assert espalier.Session(bandgru).profile() == []


def bad_calls(session, x):
    return [
        (lambda: session.run(None, {}), "input bands"),
        (lambda: session.run(None, {"bands": x, "more": x}), "input more: the model has no such input"),
        (lambda: session.run(["y"], {"bands": x}), "output y: the model has no such output"),
        (lambda: session.run(None, {"bands": x.astype(np.float64)}), "input bands: type is f64, expected f32"),
        (lambda: session.run(None, {"bands": x.astype(np.complex64)}), "input bands: type is complex64"),
        (lambda: session.run(None, {"bands": x.astype(">f4")}), "input bands: type is >f4"),
        (lambda: session.run(None, {"bands": x[..., :31]}), "bands"),
        (lambda: session.run(None, {"bands": np.float32(1)}), "bands"),
        (lambda: session.run(None, {"bands": ["a"]}), "input bands: type is <U1"),
        (lambda: session.bind_input("bands", np.asfortranarray(np.ones((2, 3, 32), np.float32))), "input bands: expected an array in C order"),
        (lambda: session.bind_output("gains", np.frombuffer(bytes(128), np.float32)), "output gains: expected a writable array"),
        (lambda: session.bind_output("gains", np.zeros((1, 1, 32))), "output gains: type is f64, expected f32"),
        (lambda: session.bind_output("y", np.zeros(1, np.float32)), "output y: the model has no such output"),
        (lambda: session.carry("bands", "y"), "output y: the model has no such output"),
        (lambda: session.carry("x", "gains"), "input x: the model has no such input"),
    ]


def test_wrong_calls_are_errors_that_name_what_is_wrong(bandgru, random):
    x = bands(random, 3)
    session = espalier.Session(bandgru)
    expected = session.run(None, {"bands": x})[0]
    for call, text in bad_calls(session, x):
        with pytest.raises(espalier.UsageError) as caught:
            call()
        assert text in str(caught.value)
        np.testing.assert_array_equal(session.run(None, {"bands": x})[0], expected)


def test_arrays_of_a_run_are_not_read_afterwards(bandgru, random):
    session = espalier.Session(bandgru)
    session.run(None, {"bands": bands(random)})
    with pytest.raises(espalier.UsageError, match="the one of the last run is no longer bound"):
        session.step()


def test_arrays_of_a_run_that_was_refused_are_not_read_afterwards():
    value = helper.make_tensor_value_info
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["y"])], "g",
                              [value("a", TensorProto.FLOAT, [3]), value("b", TensorProto.FLOAT, [3])], [value("y", TensorProto.FLOAT, [3])])
    session = espalier.Session(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
    right, wrong = np.ones(3, np.float32), np.ones(4, np.float32)
    with pytest.raises(espalier.UsageError):
        session.run(None, {"a": right, "b": wrong})
    with pytest.raises(espalier.UsageError, match="input a: expected an array"):
        session.run(None, {"b": right})
    np.testing.assert_array_equal(session.run(None, {"a": right, "b": right})[0], right + right)


def test_errors_have_the_text_of_the_program(tmp_path):
    missing = str(tmp_path / "missing.onnx")
    with pytest.raises(espalier.FormatError, match=r"missing\.onnx: cannot be opened: No such file or directory"):
        espalier.Session(missing)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(espalier.FormatError, match="broken.onnx"):
        espalier.Session(broken)
    with pytest.raises(espalier.UnsupportedError, match="StringNormalizer"):
        value = helper.make_tensor_value_info
        graph = helper.make_graph([helper.make_node("StringNormalizer", ["x"], ["y"])], "g", [value("x", TensorProto.STRING, [1])], [value("y", TensorProto.STRING, [1])])
        espalier.Session(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
    with pytest.raises(espalier.UsageError, match="threads is -1"):
        espalier.Session(missing, threads=-1)


def test_memory_is_given_back(bandgru, random):
    x = bands(random)
    for _ in range(20):
        espalier.Session(bandgru).run(None, {"bands": x})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    session = espalier.Session(bandgru)
    for _ in range(3000):
        session.run(None, {"bands": x})
        session.bind_input("bands", x.copy())
        session.bind_output("gains", np.zeros((1, 100, 32), np.float32))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 << 10  # KiB


def test_onnx_is_not_disturbed(bandgru):
    assert espalier.Session(bandgru) and onnx.load(bandgru).graph.node
