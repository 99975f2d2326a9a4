"""The code of docs/howto/train.md, which the tests of this folder run."""
import pathlib
import re

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/howto/train.md"


def run_block(marker, names):
    """Runs the block that holds `marker`, with these names defined; gives the names that there are then."""
    found = [block for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S) if marker in block]
    assert len(found) == 1, f"{marker} is in {len(found)} blocks of {PAGE}"
    exec(compile(found[0], str(PAGE), "exec"), names)
    return names
