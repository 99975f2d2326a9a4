"""The commands as functions: what they return is what the program prints, what they raise is what it says."""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import warnings

import espalier
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = str(ROOT / "build/release/bin/espalier")


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", espalier.EspalierWarning)
        yield


def program(*words):
    done = subprocess.run([PROGRAM, *words, "--json", "-"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def without_run(report):
    return {key: value for key, value in report.items() if key != "run"}


def test_reports_are_those_of_the_program(denoise, bandgru):
    assert without_run(espalier.inspect(denoise)) == without_run(program("inspect", denoise))
    assert without_run(espalier.diff(denoise, bandgru)) == without_run(program("diff", denoise, bandgru))
    assert espalier.inspect(denoise)["run"]["command"] == f"espalier inspect {denoise} --json=-"


def test_files_are_those_of_the_program(denoise, tmp_path):
    ours, theirs = str(tmp_path / "a.onnx"), str(tmp_path / "b.onnx")
    report = espalier.prune(denoise, ours, sparsity=0.8, block="8x4", exclude=["wi", "wo|nothing"], no_verify=True, for_="openvino")
    program("prune", denoise, theirs, "--sparsity", "0.8", "--block", "8x4", "--exclude", "wi", "--exclude", "wo|nothing", "--no-verify")
    assert pathlib.Path(ours).read_bytes() == pathlib.Path(theirs).read_bytes()
    assert report["output"] == {"file": ours, "bytes": os.path.getsize(ours)}
    assert abs(report["total"]["zeros"] - 0.8) < 0.01


def test_data_are_arrays(denoise, tmp_path, random):
    inputs = random.standard_normal((4, 50, 32)).astype(np.float32)
    out = str(tmp_path / "a.onnx")
    espalier.prune(denoise, out, sparsity=0.5, calib={"bands": inputs}, inputs=inputs)
    found = espalier.verify(denoise, out, inputs={"bands": inputs})
    assert found["samples"] == 4
    assert not found["ok"]
    session = espalier.Session(denoise)
    labels = np.stack([session.run(None, {"bands": x[None]})[0][0] for x in inputs])
    judged = espalier.verify(denoise, out, inputs=inputs, labels=labels, metric="cosine", max_drop="50%")
    assert judged["ok"]
    assert judged["metric"]["a"] == pytest.approx(1)
    stats = str(tmp_path / "s.safetensors")
    assert espalier.calibrate(denoise, inputs=inputs, output=stats)["feeds"] == 4


def test_advise_bench_sweep(denoise, tmp_path):
    assert espalier.advise(denoise, block=["16x1", "8x4"], threads=1)["machine"]["simd"] == espalier.simd_target()
    assert espalier.bench(denoise, warmup=0, seconds=0.05)["models"][0]["runs"] > 0
    found = espalier.sweep(denoise, output=tmp_path / "grid", sparsity=[0.5, 0.9], block=["16x1"], seconds=0.02, warmup=0)
    assert [point["sparsity"] for point in found["points"]] == [0.5, 0.9]
    assert found == json.loads((tmp_path / "grid/results.json").read_text()) | {"run": found["run"]}


def test_masks_are_arrays(denoise, bandgru, tmp_path):
    masks = espalier.masks_of(bandgru)
    assert masks
    assert all(mask.dtype == np.bool_ for mask in masks.values())
    out = str(tmp_path / "m.onnx")
    report = espalier.apply_masks(denoise, masks, out)
    again = espalier.masks_of(out)
    for name, mask in masks.items():
        assert not (again[name] & ~mask).any()
    assert abs(report["total"]["zeros"] - 0.9) < 0.05
    other = str(tmp_path / "n.onnx")
    espalier.prune(denoise, other, mask_in=masks, no_refit=True, mask_out=tmp_path / "masks.npz")
    assert espalier.diff(out, other)["weights"] == []
    assert set(espalier.read_masks(tmp_path / "masks.npz")) == set(masks)


def test_convert_is_exact(bandgru, tmp_path):
    packed = str(tmp_path / "p.nnef.tgz")
    report = espalier.convert(bandgru, packed)
    assert report["output"]["bytes"] < 0.2 * report["input"]["bytes"]
    assert espalier.verify(bandgru, packed)["ok"]
    x = np.ones((1, 10, 32), np.float32)
    found = [espalier.Session(path).run(None, {name: x})[0] for path, name in ((bandgru, "bands"), (packed, "bands"))]
    np.testing.assert_allclose(found[0], found[1], atol=2e-6)


WRONG = [
    (lambda model, out: espalier.prune(model, out, block="16q1"), ["prune", "MODEL", "OUT", "--block=16q1"]),
    (lambda model, out: espalier.prune(model, out, sparsity=1.5), ["prune", "MODEL", "OUT", "--sparsity=1.5"]),
    (lambda model, out: espalier.prune(model), ["prune", "MODEL"]),
    (lambda model, out: espalier.prune(out + ".onnx", out), ["prune", "OUT.onnx", "OUT"]),
    (lambda model, out: espalier.prune(model, out, calib="nowhere"), ["prune", "MODEL", "OUT", "--calib=nowhere"]),
    (lambda model, out: espalier.convert(model, out + ".pt"), ["convert", "MODEL", "OUT.pt"]),
    (lambda model, out: espalier.inspect(model, threads=-1), ["inspect", "MODEL", "--threads=-1"]),
    (lambda model, out: espalier.prune(model, out, state={"x": "y"}, inputs="nowhere"), ["prune", "MODEL", "OUT", "--inputs=nowhere", "--state=x=y"]),
    (lambda model, out: espalier.prune(model, out, layer=["nothing:sparsity=0.5"]), ["prune", "MODEL", "OUT", "--layer=nothing:sparsity=0.5"]),
]


@pytest.mark.parametrize("case", range(len(WRONG)))
def test_errors_have_the_text_of_the_program(case, denoise, tmp_path):
    call, words = WRONG[case]
    out = str(tmp_path / "out")
    done = subprocess.run([PROGRAM, *(word.replace("MODEL", denoise).replace("OUT", out) for word in words)], capture_output=True, text=True, check=False)
    kind = {1: (espalier.FormatError, espalier.UnsupportedError), 2: espalier.UsageError}[done.returncode]
    with pytest.raises(kind) as caught:
        call(denoise, out)
    assert done.stderr.strip().splitlines()[-1] == f"error: {caught.value}"
    assert os.listdir(tmp_path) == []


def test_out_of_tolerance(denoise, tmp_path, random):
    inputs = random.standard_normal((3, 20, 32)).astype(np.float32)
    session = espalier.Session(denoise)
    labels = np.stack([session.run(None, {"bands": x[None]})[0][0] for x in inputs])
    with pytest.raises(espalier.ToleranceError) as caught:
        espalier.prune(denoise, tmp_path / "o.onnx", sparsity=0.95, eval=inputs, labels=labels, metric="cosine", assert_drop=0.0)
    assert caught.value.report["metric"]["drop"] > 0


def test_progress_and_warnings(denoise, tmp_path):
    steps, said, notes = [], [], []
    espalier.prune(denoise, tmp_path / "o.onnx", sparsity=0.5, progress=lambda *step: steps.append(step), warning=said.append, note=notes.append)
    assert steps
    assert all(isinstance(what, str) and 0 <= done <= total for what, done, total in steps)
    assert any("calib" in text for text in said)
    assert notes
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        espalier.prune(denoise, tmp_path / "o.onnx", sparsity=0.5)
    assert [w for w in caught if issubclass(w.category, espalier.EspalierWarning) and w.filename == __file__]


def test_a_callback_that_raises_ends_the_work(denoise, tmp_path):
    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop("enough")

    with pytest.raises(Stop, match="enough"):
        espalier.prune(denoise, tmp_path / "o.onnx", sparsity=0.5, progress=stop)
    assert os.listdir(tmp_path) == []
    espalier.prune(denoise, tmp_path / "o.onnx", sparsity=0.5)


def test_commands_run_side_by_side(denoise, tmp_path):
    outs = [tmp_path / f"{i}.onnx" for i in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda out: espalier.prune(denoise, out, sparsity=0.5, threads=1, no_verify=True), outs))
    assert len({out.read_bytes() for out in outs}) == 1
    assert [report["output"]["file"] for report in reports] == [str(out) for out in outs]


def test_the_program_is_there_too(denoise):
    done = subprocess.run([sys.executable, "-m", "espalier", "inspect", denoise], capture_output=True, text=True, check=True)
    assert done.stdout == subprocess.run([PROGRAM, "inspect", denoise], capture_output=True, text=True, check=True).stdout
    script = pathlib.Path(sys.executable).parent / "espalier"
    wrong = subprocess.run([script, "prune"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr == subprocess.run([PROGRAM, "prune"], capture_output=True, text=True, check=False).stderr
