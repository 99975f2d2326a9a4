"""Masks while a Keras 3 model is trained, on any backend: ``Prune`` is a callback.

Kernels of Keras are ``[inputs, outputs]``, those of GRU and LSTM ``[inputs, gates * units]`` with the gates side by side. A recurrent
layer's weights are named ``LAYER/kernel`` and ``LAYER/recurrent_kernel``, those of other layers ``LAYER/kernel``.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .masks import Fold, Pruner, Rule, Schedule, masked, rewind

_GATES = {"GRU": 3, "LSTM": 4, "SimpleRNN": 1}


def weights_of(model: Any) -> dict[str, tuple[Any, Fold]]:
    """The variables that can be pruned, with their folds, by name: matrices of Dense, GRU, LSTM and SimpleRNN layers."""
    found: dict[str, tuple[Any, Fold]] = {}
    for layer in model._flatten_layers(include_self=False):
        kind = type(layer).__name__
        if kind in _GATES:
            found[f"{layer.name}/kernel"] = (layer.cell.kernel, Fold(_GATES[kind], True))
            found[f"{layer.name}/recurrent_kernel"] = (layer.cell.recurrent_kernel, Fold(_GATES[kind], True))
        elif kind == "Dense":
            found[f"{layer.name}/kernel"] = (layer.kernel, Fold(1, True))
    return found


class Prune(keras.callbacks.Callback):  # type: ignore[misc]
    """Chooses masks along a schedule while ``fit`` runs, and keeps what they drop at zero after each step.

    Args:
        rules: what is pruned, by the names of the weights (``weights_of``).
        schedule: in steps (batches), counted over all calls of ``fit`` with this callback.
        masks: masks to begin with: those of a lottery ticket, with a schedule that is never due.

    Raises:
        UsageError: a rule is of no weight that the model has; the text lists those that it has.
    """

    def __init__(self, rules: Mapping[str, Rule], schedule: Schedule, masks: Mapping[str, NDArray[np.bool_]] | None = None) -> None:
        super().__init__()
        self.rules, self.schedule, self.step = dict(rules), schedule, 0
        self._given = dict(masks or {})
        self._pruner: Pruner | None = None

    @property
    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """The masks of now, in the shape of the kernels; True = kept."""
        return self._pruner.masks if self._pruner else self._given

    def on_train_begin(self, logs: Any = None) -> None:
        """Finds the weights, and applies the masks that were given."""
        if self._pruner is None:
            weights = weights_of(self.model)
            for name in (*self.rules, *self._given):
                if name not in weights:
                    raise UsageError(f"{name}: the model has no such weight, expected one of {', '.join(sorted(weights))}")
            folds = {name: fold for name, (_, fold) in weights.items()}
            self._pruner = Pruner(self.rules, folds, self.schedule, self._given)
        self._apply()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Chooses masks anew where the schedule says so."""
        assert self._pruner is not None
        if self.schedule.is_due(self.step):
            self._sync()
            variables = weights_of(self.model)
            arrays = {name: np.asarray(keras.ops.convert_to_numpy(variables[name][0].value)) for name in self.rules}
            self._pruner.update(self.step, arrays)
            self._apply()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After the optimizer's step: what is dropped is zero again."""
        self.step += 1
        self._apply()

    def _sync(self) -> None:
        # The trainer of JAX holds the variables in a state of its own while it trains.
        trainer = getattr(self.model, "jax_state_sync", None)
        if trainer is not None:
            trainer()

    def _apply(self) -> None:
        assert self._pruner is not None
        if not self._pruner.masks:
            return
        self._sync()
        variables = weights_of(self.model)
        for name, mask in self._pruner.masks.items():
            variable = variables[name][0]
            variable.assign(keras.ops.where(mask, variable.value, 0))


def rewound(model: Any, initial: Mapping[str, NDArray[Any]], masks: Mapping[str, NDArray[np.bool_]]) -> None:
    """Puts the weights from before the training back, under the masks that it found (lottery ticket).

    Args:
        model: of the architecture that was trained.
        initial: an array for each variable by its path (``{v.path: v.numpy()}`` before training).
        masks: those of ``Prune``.
    """
    for variable in model.variables:
        if variable.path in initial:
            variable.assign(initial[variable.path])
    variables = weights_of(model)
    tickets = rewind({name: np.asarray(keras.ops.convert_to_numpy(variables[name][0].value)) for name in masks}, masks)
    for name, array in tickets.items():
        variables[name][0].assign(masked(array, masks[name]))
