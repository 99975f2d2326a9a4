"""The wheel's library in ONNX Runtime."""
import espalier
import numpy as np
import onnxruntime


def session(path, library=False):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if library:
        options.register_custom_ops_library(espalier.onnxruntime_library())
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_both(path, feed, tmp_path):
    """Outputs with the library, without it, and of the dense file; how many nodes the profile of the first saw is checked by the caller."""
    region, operator = str(tmp_path / "region.onnx"), str(tmp_path / "operator.onnx")
    for profile, out in (("region", region), ("operator", operator)):
        espalier.convert(path, out, profile=profile)
    dense = session(path).run(None, feed)
    return dense, [session(out, library).run(None, feed) for out in (region, operator) for library in (True, False)]


def test_packed_files_compute_the_same(bandgru, tmp_path, random):
    feed = {"bands": random.standard_normal((1, 100, 32)).astype(np.float32)}
    dense, others = run_both(bandgru, feed, tmp_path)
    for outputs in others:
        np.testing.assert_allclose(outputs[0], dense[0], atol=1e-5)


def test_the_library_is_what_runs(bandgru, tmp_path, random):
    """Without it the functions' own nodes run, with it one node of espalier's domain: so says onnxruntime's profile."""
    out = str(tmp_path / "region.onnx")
    espalier.convert(bandgru, out, profile="region")
    names = []
    for library in (True, False):
        options = onnxruntime.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(tmp_path / f"profile{library}")
        if library:
            options.register_custom_ops_library(espalier.onnxruntime_library())
        running = onnxruntime.InferenceSession(out, options, providers=["CPUExecutionProvider"])
        running.run(None, {"bands": random.standard_normal((1, 5, 32)).astype(np.float32)})
        with open(running.end_profiling(), encoding="utf-8") as file:
            names.append(file.read())
    assert "Region" in names[0] or "BlockSparse" in names[0]
    assert '"op_name" : "GRU"' not in names[0]
    assert '"op_name" : "GRU"' in names[1]
