"""Masks that are chosen while a network is trained: blocks, N:M, diagonals, densities of gates, schedules; NumPy alone.

A weight is folded to ``[parts, outputs, inputs]`` first, as ``espalier prune`` does: a part is a gate of a recurrent layer, a group of a
convolution, or the whole matrix. ``Fold`` says how a framework's array becomes that, so that masks, training and ``convert`` mean the
same blocks.
``espalier.keras`` and ``espalier.torch`` know the folds of their layers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError

Mask = NDArray[np.bool_]

#: LPCNet's densities of the recurrent matrix of its larger GRU, gates z, r, h as Keras has them (arXiv:1810.11846).
LPCNET_DENSITIES = (0.05, 0.05, 0.2)


@dataclass(frozen=True)
class Fold:
    """How an array becomes matrices ``[parts, outputs, inputs]``.

    Attributes:
        gates: parts that lie side by side along the outputs: 3 of a GRU, 4 of an LSTM, else 1.
        transposed: the array is ``[inputs, gates * outputs]``, as Keras has it; else ``[gates * outputs, inputs]``, as torch has it.
        window: of a convolution: its array is ``[outputs, inputs / groups, *window]``, transposed ``[*window, inputs / groups, outputs]``;
            the columns of the matrix are ``inputs / groups * window``, window positions of one input side by side.
        groups: of a convolution: each is a part.
    """

    gates: int = 1
    transposed: bool = False
    window: tuple[int, ...] = ()
    groups: int = 1

    @property
    def positions(self) -> int:
        """Columns that each input has: the positions of a convolution's window, else 1."""
        return math.prod(self.window)

    def fold(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array as ``[parts, outputs, inputs]``; a view where that can be.

        Raises:
            UsageError: the array is no matrix (a convolution's: has no such window), or its outputs do not divide into the gates or groups.
        """
        if array.ndim != 2 + len(self.window):
            expected = f"a convolution of window {list(self.window)}" if self.window else "a matrix"
            raise UsageError(f"a weight of shape {list(array.shape)}, expected {expected}")
        outputs_first = array
        if self.transposed:
            outputs_first = np.moveaxis(array, (-1, -2), (0, 1))
        parts = self.gates * self.groups
        if outputs_first.shape[2:] != self.window or outputs_first.shape[0] % parts != 0:
            raise UsageError(
                f"a weight of shape {list(array.shape)}, expected a multiple of {parts} outputs (gates, groups), window {list(self.window)}"
            )
        return outputs_first.reshape(parts, outputs_first.shape[0] // parts, math.prod(outputs_first.shape[1:]))

    def unfold(self, parts: NDArray[Any]) -> NDArray[Any]:
        """``[parts, outputs, inputs]`` as the array was."""
        outputs_first = parts.reshape(parts.shape[0] * parts.shape[1], parts.shape[2] // self.positions, *self.window)
        return np.moveaxis(outputs_first, (0, 1), (-1, -2)) if self.transposed else outputs_first


def block_shape(block: str) -> tuple[int, int]:
    """``"16x1"`` as (16, 1): outputs x inputs.

    Raises:
        UsageError: it is no RxC with both from 1 to 4096.
    """
    rows, separator, cols = block.partition("x")
    if separator and rows.isdecimal() and cols.isdecimal() and 1 <= int(rows) <= 4096 and 1 <= int(cols) <= 4096:
        return int(rows), int(cols)
    raise UsageError(f"block '{block}': expected ROWSxCOLUMNS with both from 1 to 4096, as in 16x1")


def block_scores(parts: NDArray[Any], block: str) -> NDArray[np.float64]:
    """Sum of squares of each block.

    Args:
        parts: ``[parts, outputs, inputs]``; blocks at the lower and right edge may stick out.
        block: outputs x inputs of a block.

    Returns:
        ``[parts, block rows, block columns]``.
    """
    rows, cols = block_shape(block)
    squares = np.square(parts.astype(np.float64))
    pad = ((0, 0), (0, -parts.shape[1] % rows), (0, -parts.shape[2] % cols))
    padded = np.pad(squares, pad)
    grid = padded.reshape(parts.shape[0], padded.shape[1] // rows, rows, padded.shape[2] // cols, cols)
    return np.asarray(grid.sum((2, 4)), np.float64)


def _expanded(kept: Mask, block: str, shape: tuple[int, ...]) -> Mask:
    rows, cols = block_shape(block)
    return np.asarray(kept.repeat(rows, 1).repeat(cols, 2)[:, : shape[1], : shape[2]])


def _strongest(scores: NDArray[np.float64], count: int) -> Mask:
    """The `count` highest, of equal ones the first."""
    kept = np.zeros(scores.size, np.bool_)
    kept[np.argsort(-scores.ravel(), kind="stable")[:count]] = True
    return kept.reshape(scores.shape)


def _share(value: float, what: str) -> float:
    if not 0 <= value <= 1:
        raise UsageError(f"{what} is {value}, expected 0 to 1")
    return value


def block_mask(parts: NDArray[Any], block: str, density: float | Sequence[float], *, diagonal: bool = False) -> Mask:
    """Keeps the blocks with the largest sums of squares.

    Args:
        parts: ``[parts, outputs, inputs]``.
        block: outputs x inputs of a block.
        density: share of blocks that are kept: one for the whole weight, or one for each part.
        diagonal: the diagonals of square parts are kept and do not count in the sums, as LPCNet does and ``--diagonal keep``.

    Returns:
        bool, the shape of `parts`; True = kept.

    Raises:
        UsageError: a density is not from 0 to 1, or of another number than there are parts; the parts are not square.
    """
    apart = np.zeros(parts.shape, np.bool_)
    if diagonal:
        if parts.shape[1] != parts.shape[2]:
            raise UsageError(f"diagonal: parts of {parts.shape[1]}x{parts.shape[2]}, expected square ones")
        apart[:] = np.eye(parts.shape[1], dtype=np.bool_)
    scores = block_scores(np.where(apart, 0, parts), block)
    if isinstance(density, Sequence):
        if len(density) != len(parts):
            raise UsageError(f"{len(density)} densities of gates, expected {len(parts)}")
        kept = np.stack([_strongest(s, round(_share(d, "density") * s.size)) for s, d in zip(scores, density, strict=True)])
    else:
        kept = _strongest(scores, round(_share(density, "density") * scores.size))
    return _expanded(kept, block, parts.shape) | apart


def nm_mask(parts: NDArray[Any], n: int, m: int, *, positions: int = 1) -> Mask:
    """Keeps the n largest of each m neighbours along the inputs.

    Args:
        parts: ``[parts, outputs, inputs]``; a last group of fewer than m keeps its share, rounded up.
        n: kept of each group, 1 to m.
        m: neighbours in a group.
        positions: of a convolution's window (``Fold.positions``): groups are inputs of one position, as TensorRT, TFLite and
            apex take them.

    Returns:
        bool, the shape of `parts`; True = kept.

    Raises:
        UsageError: n is not from 1 to m; the columns are no multiple of the positions.
    """
    if not 1 <= n <= m:
        raise UsageError(f"{n}:{m}: expected N:M with 1 <= N <= M")
    if positions < 1 or parts.shape[2] % positions != 0:
        raise UsageError(f"{parts.shape[2]} columns, expected a multiple of {positions} positions")
    by_position = parts.reshape(*parts.shape[:2], -1, positions)
    kept = np.zeros(by_position.shape, np.bool_)
    for start in range(0, by_position.shape[2], m):
        group = np.abs(by_position[:, :, start : start + m])
        width = group.shape[2]
        order = np.argsort(-group, axis=2, kind="stable")[:, :, : -(-n * width // m)]
        np.put_along_axis(kept[:, :, start : start + m], order, True, axis=2)
    return kept.reshape(parts.shape)


@dataclass(frozen=True)
class Schedule:
    """Zhu & Gupta's cubic schedule (arXiv:1710.01878): ``s(t) = end + (start - end) (1 - (t - begin) / (stop - begin))^3``.

    Attributes:
        begin: step at which pruning starts.
        stop: step from which on the sparsity is `end`.
        start: sparsity at `begin`.
        end: sparsity at `stop`.
        every: masks are chosen again each so many steps between `begin` and `stop`.
    """

    begin: int
    stop: int
    start: float = 0.0
    end: float = 0.9
    every: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.begin < self.stop or self.every < 1:
            raise UsageError(f"schedule from step {self.begin} to {self.stop}, every {self.every}: expected begin < stop, every >= 1")
        _share(self.start, "start")
        _share(self.end, "end")

    def sparsity(self, step: int) -> float:
        """Share of zeros at a step."""
        if step < self.begin:
            return 0.0
        left = 1 - min(1.0, (step - self.begin) / (self.stop - self.begin))
        return self.end + (self.start - self.end) * left**3

    def is_due(self, step: int) -> bool:
        """Whether masks are chosen at a step."""
        return self.begin <= step <= self.stop and ((step - self.begin) % self.every == 0 or step == self.stop)


@dataclass(frozen=True)
class Rule:
    """What is pruned of one weight.

    Attributes:
        block: outputs x inputs of a block.
        nm: (N, M) in place of blocks; it takes effect when the schedule begins.
        diagonal: the diagonals of square parts are kept.
        densities: share of blocks that each gate keeps in the end, as LPCNet has them; in place of the schedule's end, along its curve.
    """

    block: str = "16x1"
    nm: tuple[int, int] | None = None
    diagonal: bool = False
    densities: tuple[float, ...] | None = None

    def mask(self, parts: NDArray[Any], sparsity: float, end: float, *, positions: int = 1) -> Mask:
        """The mask at a sparsity on the way to `end`; bool, the shape of `parts`. `positions` as `nm_mask` has them."""
        if self.nm is not None:
            return nm_mask(parts, *self.nm, positions=positions)
        if self.densities is None:
            return block_mask(parts, self.block, 1 - sparsity, diagonal=self.diagonal)
        way = sparsity / end if end > 0 else 1.0
        return block_mask(parts, self.block, [1 - (1 - d) * way for d in self.densities], diagonal=self.diagonal)


@dataclass
class Pruner:
    """The masks of named weights along a schedule; what both adapters are made of.

    Attributes:
        rules: what is pruned, by the names of the weights.
        folds: how each weight folds.
        schedule: when and how much.
        masks: the masks of now, in the shape of the weights; True = kept.
    """

    rules: Mapping[str, Rule]
    folds: Mapping[str, Fold]
    schedule: Schedule
    masks: dict[str, Mask] = field(default_factory=dict)

    def update(self, step: int, weights: Mapping[str, NDArray[Any]]) -> bool:
        """Chooses masks anew where the schedule says so.

        Args:
            step: of the training, from 0.
            weights: the arrays of now.

        Returns:
            Whether masks were chosen.
        """
        if not self.schedule.is_due(step):
            return False
        sparsity = self.schedule.sparsity(step)
        for name, rule in self.rules.items():
            fold = self.folds[name]
            self.masks[name] = fold.unfold(rule.mask(fold.fold(weights[name]), sparsity, self.schedule.end, positions=fold.positions))
        return True

    def fixed(self) -> "Pruner":
        """A pruner that keeps the masks of now: for the second training of a lottery ticket."""
        never = replace(self.schedule, begin=1 << 60, stop=(1 << 60) + 1)
        return Pruner(self.rules, self.folds, never, dict(self.masks))


def masked(weight: NDArray[Any], mask: Mask) -> NDArray[Any]:
    """The weight with exact zeros (+0) where the mask is False, of the same type."""
    return np.where(mask, weight, np.zeros((), weight.dtype))


def rewind(initial: Mapping[str, NDArray[Any]], masks: Mapping[str, Mask]) -> dict[str, NDArray[Any]]:
    """The lottery ticket (arXiv:1803.03635): the initial weights under the masks that training found.

    Args:
        initial: weights from before the training, by name; those without a mask stay as they are.
        masks: masks by the same names.
    """
    return {name: masked(array, masks[name]) if name in masks else array for name, array in initial.items()}


def sparsity(mask: Mask) -> float:
    """Share of weights that a mask drops."""
    return 1 - float(np.count_nonzero(mask)) / mask.size
