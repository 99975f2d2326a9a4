"""The lines of Python in README.md, docs/deploy.md and apps/python/README.md, run in the order in which they stand there."""
import pathlib
import re
import shutil
import warnings

import espalier
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("page", "section", "blocks"), [("README.md", "", 1), ("docs/deploy.md", "## Python", 4), ("apps/python/README.md", "", 1)])
def test_lines_of_the_pages_run(page, section, blocks, denoise, tmp_path, monkeypatch):
    text = (ROOT / page).read_text()
    if section:
        text = text[text.index(section + "\n") :].split("\n## ")[0]
        text = text.split("\n## ", 1)[0]
    found = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(found) == blocks
    shutil.copy(denoise, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", espalier.EspalierWarning)
        for block in found:
            exec(compile(block, page, "exec"), names)
    assert "session" in names
    assert (tmp_path / "packed.onnx").stat().st_size < (tmp_path / "model.onnx").stat().st_size
