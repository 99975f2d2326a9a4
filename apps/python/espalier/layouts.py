"""Weights and masks of training frameworks as model files hold them: order of gates, axes, names.

What differs, and what this module does about it:

========================  ==========================  =====================  ==============================================
framework                 matrix                      GRU                    LSTM
========================  ==========================  =====================  ==============================================
torch                     ``[outputs, inputs]``       r, z, n                i, f, g, o; two directions are two arrays
Keras                     ``[inputs, outputs]``       z, r, h                i, f, c, o
ONNX, NNEF of espalier    as the operator reads it    z, r, h                i, o, f, c; ``[directions, gates * units, inputs]``
========================  ==========================  =====================  ==============================================

``from_torch`` and ``from_keras`` put arrays into ONNX's order of gates, with outputs first. ``masks_for`` finds the weights in the
exported file by their values, whatever the exporter called them, and gives masks in the file's own layout: ``apply_masks`` takes them.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core, line
from .errors import UsageError
from .mask_files import Masks

Array = NDArray[Any]
Framework = Literal["torch", "keras"]

# Which of the framework's gates is each of ONNX's.
_ORDER = {
    ("torch", 1): (0,),
    ("torch", 3): (1, 0, 2),
    ("torch", 4): (0, 3, 1, 2),
    ("keras", 1): (0,),
    ("keras", 3): (0, 1, 2),
    ("keras", 4): (0, 3, 1, 2),
}
_TORCH_RECURRENT = re.compile(r"(?P<name>(?:.*\.)?weight_(?P<which>ih|hh)(?:_l\d+)?)(?P<reverse>_reverse)?")
_KERAS_RECURRENT = re.compile(r"(?P<layer>.*/)(?P<which>recurrent_kernel|kernel)")


def gates_in_order(array: Array, gates: int, framework: Framework) -> Array:
    """Puts the gates of a recurrent layer's matrix into ONNX's order.

    Args:
        array: ``[gates * units, inputs]``, the gates one after the other as the framework has them.
        gates: 3 of a GRU, 4 of an LSTM, 1 of a simple RNN.
        framework: whose order it is.

    Returns:
        The same shape.

    Raises:
        UsageError: the outputs do not divide into the gates, or the number of gates is another one.
    """
    order = _ORDER.get((framework, gates))
    if order is None or array.ndim != 2 or array.shape[0] % gates != 0:
        raise UsageError(f"{gates} gates in an array of shape {list(array.shape)}, expected 1, 3 or 4 along the first of two axes")
    return np.ascontiguousarray(array.reshape(gates, -1, array.shape[1])[list(order)].reshape(array.shape))


def _gates_of(name: str, recurrent: Array) -> int:
    """Gates of a recurrent matrix ``[gates * units, units]``."""
    outputs, units = recurrent.shape
    if units == 0 or outputs % units != 0 or outputs // units not in (1, 3, 4):
        raise UsageError(f"{name}: shape {list(recurrent.shape)}, expected [gates * units, units] of a GRU, LSTM or RNN without projection")
    return outputs // units


@dataclass(frozen=True)
class _Source:
    """One array of the framework, or the two directions of a layer, in ONNX's layout."""

    name: str
    array: Array
    raw: Array  # outputs first, gates in the framework's order: of files in which a step of the layer is spelled out
    recurrent: bool = False


def _torch_sources(state: Mapping[str, Array]) -> Iterator[_Source]:
    state = {name.removesuffix("_mask"): np.asarray(array) for name, array in state.items()}
    for name, array in state.items():
        found = _TORCH_RECURRENT.fullmatch(name)
        if array.ndim < 2 or (found and found["reverse"]):
            continue
        if not found:
            yield _Source(name, array, array)
            continue
        hidden = name.replace("weight_ih", "weight_hh")
        both = [array] + ([state[name + "_reverse"]] if name + "_reverse" in state else [])
        # The input's matrix does not tell the gates where the recurrent one is missing: masks of one alone.
        gates = _gates_of(hidden, state[hidden]) if hidden in state else 0
        if gates == 0:
            raise UsageError(f"{name}: the recurrent matrix {hidden} is missing, which tells a GRU from an LSTM")
        ordered = [gates_in_order(one, gates, "torch") for one in both]
        yield _Source(name, ordered[0] if len(both) == 1 else np.stack(ordered), array if len(both) == 1 else np.stack(both), True)


def _keras_sources(weights: Mapping[str, Array]) -> Iterator[_Source]:
    arrays = {name: np.asarray(array) for name, array in weights.items()}
    for name, array in arrays.items():
        if array.ndim < 2:
            continue
        found = _KERAS_RECURRENT.fullmatch(name)
        recurrent = arrays.get(found["layer"] + "recurrent_kernel") if found else None
        if recurrent is None:
            # A convolution's kernel is [window..., inputs, outputs].
            onnx = array.T if array.ndim == 2 else np.moveaxis(array, (-1, -2), (0, 1))
            yield _Source(name, onnx, onnx)
            continue
        gates = _gates_of(name, recurrent.T)
        yield _Source(name, gates_in_order(array.T, gates, "keras"), array.T, True)


def _sources(arrays: Mapping[str, Array], framework: Framework) -> Iterator[_Source]:
    return _torch_sources(arrays) if framework == "torch" else _keras_sources(arrays)


def from_torch(state: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Weights or masks of a torch ``state_dict`` as ONNX has them.

    Args:
        state: arrays (or tensors on the CPU) by their names; names may end in ``_mask``, as ``torch.nn.utils.prune`` ends them. What
            has less than two axes is left out. A recurrent layer needs ``weight_hh`` next to ``weight_ih``.

    Returns:
        Arrays by the names without ``_mask``: ``[outputs, inputs]``, convolutions as they are, recurrent layers with the gates in
        ONNX's order; the two directions of one together, ``[2, gates * units, inputs]`` by the name of the first.

    Raises:
        UsageError: a recurrent layer with a projection, or without one of its matrices.
    """
    return {source.name: source.array for source in _torch_sources({name: np.asarray(array) for name, array in state.items()})}


def from_keras(weights: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Kernels or masks of Keras by the names of ``espalier.keras`` (``LAYER/kernel``, ``LAYER/recurrent_kernel``) as ONNX has them.

    Returns:
        Arrays by the same names: ``[outputs, inputs]``, convolutions ``[outputs, inputs, window...]``, recurrent layers with the gates in
        ONNX's order.

    Raises:
        UsageError: a recurrent kernel that is not of a GRU, LSTM or simple RNN.
    """
    return {source.name: source.array for source in _keras_sources({name: np.asarray(array) for name, array in weights.items()})}


def _outputs_first(array: Array, axis: int) -> Array:
    """Without axes of one element, a matrix as [outputs, inputs]."""
    kept = [i for i, extent in enumerate(array.shape) if extent != 1]
    squeezed = array.reshape([array.shape[i] for i in kept])
    return squeezed.T if squeezed.ndim == 2 and axis in kept and kept.index(axis) == 1 else squeezed


def _in_file(mask: Array, shape: tuple[int, ...], axis: int) -> NDArray[np.bool_]:
    """The other way round."""
    kept = [i for i, extent in enumerate(shape) if extent != 1]
    turned = len(kept) == 2 and axis in kept and kept.index(axis) == 1
    squeezed = mask.reshape([extent for extent in mask.shape if extent != 1])
    return np.ascontiguousarray((squeezed.T if turned else squeezed).reshape(shape).astype(np.bool_))


def _equal(a: Array, b: Array) -> bool:
    # Exporters may round to f16 or bf16.
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=2.0**-7, atol=0, equal_nan=True))


def _masks_of(source: _Source, kept: _Source, in_file: list[tuple[str, Array, int]]) -> Masks:
    """The mask of each weight of the file that has the values of `source`, or those that the mask keeps."""
    result = Masks()
    for name, array, axis in in_file:
        seen = _outputs_first(array, axis)
        for ours, mask in ((source.array, kept.array), (source.raw, kept.raw)):
            values = ours.reshape([extent for extent in ours.shape if extent != 1])
            if _equal(seen, values) or _equal(seen, np.where(mask.reshape(values.shape).astype(np.bool_), values, 0)):
                result[name] = _in_file(mask, array.shape, axis)
                result.outputs_axis[name] = axis
                break
    return result


def masks_for(
    model: line.Path, weights: Mapping[str, ArrayLike], masks: Mapping[str, ArrayLike], *, framework: Framework = "torch"
) -> Masks:
    """The masks of a training loop as the exported file's weights have them, by the file's names.

    The weights are found by their values, so that it does not matter what the exporter called them, how it laid them out, or whether it
    still computes them (from a mask that is attached, or from gates that are put in order).

    Args:
        model: the exported file.
        weights: the arrays that were exported, by the framework's names: a torch ``state_dict``, or the kernels that
            ``espalier.keras.weights_of`` names.
        masks: by the same names (or with ``_mask`` at their ends), of the same shapes; True or 1 = kept. Weights without a mask are not
            in the result.
        framework: whose order of gates and axes both have.

    Returns:
        Masks for ``apply_masks``, in the layout of the file.

    Raises:
        UsageError: a masked weight is not in the file, or of another shape than its mask; the text lists the file's weights.
        FormatError: the file is missing or broken.
    """
    plain = {name: np.asarray(mask) for name, mask in masks.items()}
    wanted = {name.removesuffix("_mask"): mask for name, mask in plain.items()}
    arrays = {name: np.asarray(array) for name, array in weights.items() if not name.endswith("_mask")}
    arrays = {name.removesuffix("_orig"): array for name, array in arrays.items()}
    # A layer of which one matrix alone is masked: the other is kept.
    full = {name: wanted.get(name, np.ones(array.shape, np.bool_)) for name, array in arrays.items()}
    for name, mask in wanted.items():
        if name not in arrays or arrays[name].shape != mask.shape:
            found = f"a weight of shape {list(arrays[name].shape)}" if name in arrays else "no weight of that name"
            raise UsageError(f"mask {name} of shape {list(mask.shape)}: {found}")
    in_file = _core.weights(os.fspath(model))
    result = Masks()
    for source, kept in zip(_sources(arrays, framework), _sources(full, framework), strict=True):
        if source.name not in wanted and source.name + "_reverse" not in wanted:
            continue
        here = _masks_of(source, kept, in_file)
        if not here:
            names = ", ".join(name for name, _, _ in in_file)
            raise UsageError(f"{source.name}: no weight of {os.fspath(model)} has its values; the file has {names or 'none'}")
        result.update(here)
        result.outputs_axis.update(here.outputs_axis)
    return result
