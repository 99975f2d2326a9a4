"""Weights as packed blocks, and back: docs/formats/sparse-pack.md."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import _core
from .errors import UsageError

Values = Literal["f32", "f16", "bf16", "i8"]


@dataclass(frozen=True)
class Packed:
    """The kept blocks of a weight.

    Attributes:
        values: [blocks, block rows, block columns], f32, f16, bf16 (bits as uint16) or i8.
        index: [blocks, 2], int64: block row (those of all parts counted on) and block column, ascending.
        shape: of the weight: [outputs, inputs], or [parts, outputs, inputs].
        type: of the values: "f32", "f16", "bf16" or "i8".
        scale: f32 [parts * outputs] with i8 values: what a value of that output is worth; else empty.
        diagonal: f32 [parts * outputs] where the diagonals of square parts are kept apart; else empty.
    """

    values: NDArray[Any]
    index: NDArray[np.int64]
    shape: tuple[int, ...]
    type: Values
    scale: NDArray[np.float32]
    diagonal: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes of the values, scales, diagonal, and the index as pairs of u16 (u32 where the grid needs it)."""
        narrow = self.index.size == 0 or int(self.index.max()) < 1 << 16
        return self.values.nbytes + self.scale.nbytes + self.diagonal.nbytes + self.index.size * (2 if narrow else 4)


def pack(weight: NDArray[Any], block: str = "16x1", *, diagonal: bool = False, values: Values = "f32") -> Packed:
    """Packs the blocks of a weight that hold anything but zeros.

    Args:
        weight: f32, [outputs, inputs], or [parts, outputs, inputs] for the gates of a recurrent layer or the groups of a convolution: each
            part has a grid of its own. In C order it is read where it lies.
        block: outputs x inputs of a block, ``"16x1"``.
        diagonal: keep the diagonals of square parts apart from the blocks.
        values: type of the stored values.

    Raises:
        UsageError: the weight has another type or rank, the block is no RxC from 1 to 4096, the parts are not square.
        FormatError: a value does not fit into the type; the text names it.
    """
    if weight.ndim not in (2, 3) or weight.dtype != np.float32 or weight.size == 0:
        raise UsageError(f"weight: {weight.dtype} {list(weight.shape)}, expected f32 [outputs, inputs] or [parts, outputs, inputs]")
    folded = np.ascontiguousarray(weight[None] if weight.ndim == 2 else weight)
    stored, index, scale, apart = _core.pack(folded, block, diagonal, values)
    return Packed(stored, index, weight.shape, values, scale, apart.astype(np.float32, copy=False))


def decode(packed: Packed) -> NDArray[np.float32]:
    """The dense weight, f32: with f32 values bit for bit what was packed.

    Raises:
        FormatError: the index is out of the grid, out of order or there twice, or values are not zero outside of the weight.
        UsageError: the shape has another rank.
    """
    if len(packed.shape) not in (2, 3) or min(packed.shape) < 1:
        raise UsageError(f"shape is {list(packed.shape)}, expected [outputs, inputs] or [parts, outputs, inputs]")
    parts, rows, cols = packed.shape if len(packed.shape) == 3 else (1, *packed.shape)
    index = np.ascontiguousarray(packed.index, np.int64)
    values = np.ascontiguousarray(packed.values)
    return _core.decode(values, packed.type, index, packed.scale, packed.diagonal, parts, rows, cols).reshape(packed.shape)
