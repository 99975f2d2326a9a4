"""Functions of Python as command lines: keywords to options, arrays to files, the printed report to an object."""

import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core
from .errors import Error, FormatError, ToleranceError, UsageError

Path = str | os.PathLike[str]
Words = str | os.PathLike[str] | Sequence[str | float | os.PathLike[str]]
Pairs = Mapping[str, object] | Sequence[str] | str
#: A file or folder as on the command line; arrays by the names of the inputs, first axis = samples; the array of a model with one input.
Data = Path | Mapping[str, ArrayLike] | NDArray[Any]
Labels = Path | NDArray[Any]
Masks = Path | Mapping[str, ArrayLike]
Progress = Callable[[str, int, int], object]
Say = Callable[[str], object]

#: A mask file's array of that name and a weight's is the axis of its mask that counts outputs.
AXIS = "outputs_axis/"

# Options whose values the program divides at commas.
_JOINED = {"block", "sparsity", "method", "values", "op", "curve"}


class EspalierWarning(UserWarning):
    """What the program warns of."""


def _warn(text: str) -> None:
    warnings.warn(text, EspalierWarning, stacklevel=4)


def save_masks(path: str, masks: Mapping[str, ArrayLike], outputs_axis: Mapping[str, int] | None = None) -> None:
    """Writes bools, or numbers, as the program reads them, whatever their names are, with the axes that count outputs."""
    arrays = {name: np.asarray(mask) for name, mask in masks.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise UsageError(f"mask {name} is of type {array.dtype}, expected bool, or numbers 0 and 1")
    arrays |= {AXIS + name: np.asarray(axis, np.int64) for name, axis in (outputs_axis or getattr(masks, "outputs_axis", {})).items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.save(file, array, allow_pickle=False)


def _saved(name: str, value: object, folder: str) -> object:
    """Arrays as the file or folder that the program reads."""
    path = os.path.join(folder, name)
    if isinstance(value, np.ndarray):
        np.save(path + ".npy", value)
        return path + ".npy"
    if not isinstance(value, Mapping) or name in ("state", "fill", "input-shape"):
        return value
    if name == "mask-in":
        save_masks(path + ".npz", value)
        return path + ".npz"
    os.mkdir(path)
    for key, array in value.items():
        if "/" in key or "\0" in key:
            raise UsageError(f"{name}: input {key}: its name cannot be the name of a file, expected an .npz file")
        np.save(os.path.join(path, f"input_{key}.npy"), np.asarray(array))
    return path


def _option(name: str, value: object) -> list[str]:
    """The words of one option."""
    if value is None or value is False:
        return []
    if value is True:
        return [f"--{name}"]
    if isinstance(value, Mapping):
        value = [f"{key}={item}" for key, item in value.items()]
    if isinstance(value, Sequence) and not isinstance(value, str):
        words = [os.fspath(item) if isinstance(item, os.PathLike) else str(item) for item in value]
        return [f"--{name}={','.join(words)}"] if name in _JOINED else [f"--{name}={word}" for word in words]
    return [f"--{name}={os.fspath(value) if isinstance(value, os.PathLike) else value}"]


def _positional(value: Words | None) -> list[str]:
    if value is None:
        return []
    items = [value] if isinstance(value, str | os.PathLike) else value
    paths = [os.fspath(item) if isinstance(item, os.PathLike) else str(item) for item in items]
    return [f"./{path}" if path.startswith("-") else path for path in paths]


def _verdict(report: Mapping[str, Any]) -> str:
    bad = [verdict["text"] for verdict in report.get("verdicts", ()) if verdict["ok"] is False]
    return "; ".join(bad) or "out of tolerance"


def report(command: str, positional: Sequence[str], given: Mapping[str, Any]) -> object:
    """Runs a command in this process.

    Args:
        command: its words.
        positional: which of `given` stand without a name, in their order.
        given: the arguments of the function.

    Returns:
        What ``--json -`` prints.
    """
    with tempfile.TemporaryDirectory(prefix="espalier-") as folder:
        options = {
            key.rstrip("_").replace("_", "-"): value  # for_ is --for
            for key, value in given.items()
            if key not in (*positional, "progress", "warning", "note")
        }
        words = ["espalier", *command.split()]
        for name in positional:
            words += _positional(given[name])
        for name, value in options.items():
            words += _option(name, _saved(name, value, folder))
        words += ["--json=-"]
        status, printed = _core.run_command(words, given["progress"], given["warning"] or _warn, given["note"])
    try:
        result: dict[str, Any] = json.loads(printed)
    except ValueError:
        raise Error(f"{command} ended with status {status} and no report") from None
    if status == 3 and command != "verify":
        raise ToleranceError(_verdict(result), result)
    if status not in (0, 3):
        raise FormatError(f"{command} ended with status {status}")
    return result
