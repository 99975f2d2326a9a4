"""Masks of model files as arrays."""

import os
import tempfile
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import line, reports


class Masks(dict[str, NDArray[np.bool_]]):
    """Masks by the names of weights; True = kept.

    Attributes:
        outputs_axis: which axis of a mask counts outputs, by the names of those of which it is known: files store a matrix as
            ``[outputs, inputs]`` or as ``[inputs, outputs]``.
    """

    def __init__(self, masks: Mapping[str, ArrayLike] | None = None, outputs_axis: Mapping[str, int] | None = None) -> None:
        super().__init__({name: np.asarray(mask, np.bool_) for name, mask in (masks or {}).items()})
        self.outputs_axis = dict(outputs_axis or {})


def read_masks(path: line.Path) -> Masks:
    """Masks of an ``.npz`` file.

    Args:
        path: what ``mask export`` or ``prune --mask-out`` wrote.

    Returns:
        A bool array for each weight, by its name in the model file, of its shape; True = kept; and which of its axes counts outputs.
    """
    with np.load(os.fspath(path)) as arrays:
        axes = {name: line.AXIS + name for name in arrays.files if line.AXIS + name in arrays.files}
        names = [name for name in arrays.files if name not in axes.values()]
        return Masks({name: arrays[name] for name in names}, {name: int(arrays[key]) for name, key in axes.items()})


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


def apply_masks(
    model: line.Path, masks: line.Masks, output: line.Path, *, outputs_first: bool = False, threads: int | None = None
) -> reports.Prune:
    """Prunes a model by masks, packs what is left and writes it: ``mask apply``.

    Args:
        model: the model whose weights are pruned.
        masks: an array for each weight, or an ``.npz`` file of them; True or 1 = kept. Axes of one element may be missing. ``Masks``
            know which axis counts outputs, and are laid out anew where the model stores the weight transposed.
        output: the file to write; its ending is its format.
        outputs_first: masks with two axes are ``[outputs, inputs]``, whatever the model's weights are: torch's, those of
            ``espalier.layouts``.
        threads: threads; None: all processors.

    Raises:
        UsageError: a mask holds no numbers.
        FormatError: a mask is of no weight (the text lists those there are), of another shape, or holds anything but zeros and ones; a
            file is missing or broken, or cannot be written.
        ToleranceError: packed and decoded weights disagree.
    """
    with tempfile.TemporaryDirectory(prefix="espalier-") as folder:
        path = os.fspath(masks) if isinstance(masks, str | os.PathLike) else ""
        if not isinstance(masks, str | os.PathLike):
            path = os.path.join(folder, "masks.npz")
            axes = dict(getattr(masks, "outputs_axis", {}))
            if outputs_first:
                axes |= {name: 0 for name, mask in masks.items() if np.ndim(mask) == 2}
            line.save_masks(path, masks, axes)
        given = {"model": model, "masks": path, "output": output, "threads": threads, "progress": None, "warning": None, "note": None}
        return cast("reports.Prune", line.report("mask apply", ["model", "masks"], given))
