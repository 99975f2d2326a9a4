"""Masks of model files as arrays."""

import os
import tempfile
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from . import line, reports

Masks = dict[str, NDArray[np.bool_]]


def read_masks(path: line.Path) -> Masks:
    """Masks of an ``.npz`` file.

    Args:
        path: what ``mask export`` or ``prune --mask-out`` wrote.

    Returns:
        A bool array for each weight, by its name in the model file, of its shape; True = kept.
    """
    with np.load(os.fspath(path)) as arrays:
        return {name: arrays[name].astype(bool, copy=False) for name in arrays.files}


def masks_of(model: line.Path) -> Masks:
    """Where the weights of a model are not zero.

    Args:
        model: a dense or packed file.

    Returns:
        A bool array for each weight that can be pruned and holds zeros, by its name in the file, of its shape; True = kept.

    Raises:
        FormatError: the file is missing or broken.
    """
    with tempfile.TemporaryDirectory(prefix="espalier-") as folder:
        path = os.path.join(folder, "masks.npz")
        given: dict[str, Any] = {"model": model, "output": path, "progress": None, "warning": None, "note": None}
        line.report("mask export", ["model"], given)
        return read_masks(path)


def apply_masks(model: line.Path, masks: line.Masks, output: line.Path, *, threads: int | None = None) -> reports.Prune:
    """Prunes a model by masks, packs what is left and writes it: ``mask apply``.

    Args:
        model: the model whose weights are pruned.
        masks: a bool array for each weight, or an ``.npz`` file of them; True = kept.
        output: the file to write; its ending is its format.
        threads: threads; None: all processors.

    Raises:
        UsageError: a mask is of no weight, or of another shape.
        FormatError: a file is missing or broken, or cannot be written.
        ToleranceError: packed and decoded weights disagree.
    """
    with tempfile.TemporaryDirectory(prefix="espalier-") as folder:
        path = os.fspath(masks) if isinstance(masks, str | os.PathLike) else ""
        if not isinstance(masks, str | os.PathLike):
            path = os.path.join(folder, "masks.npz")
            line.save_masks(path, masks)
        given = {"model": model, "masks": path, "output": output, "threads": threads, "progress": None, "warning": None, "note": None}
        return cast("reports.Prune", line.report("mask apply", ["model", "masks"], given))
