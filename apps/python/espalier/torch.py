"""Masks while a torch model is trained: ``Prune`` hooks after the optimizer's step.

Weights have the names of ``model.state_dict()``: of Linear, Conv, GRU, LSTM and RNN layers and of their cells. torch keeps the gates of a
GRU as r, z, n and those of an LSTM as i, f, g, o, one after the other along the outputs; ``espalier.layouts.masks_for`` maps masks to the
exported file.
"""

import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .errors import UsageError
from .masks import Fold, Pruner, Rule, Schedule, masked, rewind

_GATES = {"GRU": 3, "GRUCell": 3, "LSTM": 4, "LSTMCell": 4, "RNN": 1, "RNNCell": 1}


def weights_of(model: Any) -> dict[str, tuple[Any, Fold]]:
    """The parameters that can be pruned, with their folds, by their names in the state dict.

    Args:
        model: a torch.nn.Module; matrices of Linear, Conv1d to Conv3d, GRU, LSTM and RNN layers and of their cells are found.
    """
    found: dict[str, tuple[Any, Fold]] = {}
    for prefix, module in model.named_modules():
        kind = type(module).__name__
        start = prefix + "." if prefix else ""
        if kind in _GATES:
            for name, parameter in module.named_parameters(recurse=False):
                if name.startswith(("weight_ih", "weight_hh")):
                    found[start + name] = (parameter, Fold(_GATES[kind]))
        elif kind == "Linear":
            found[start + "weight"] = (module.weight, Fold())
        elif kind in ("Conv1d", "Conv2d", "Conv3d"):
            found[start + "weight"] = (module.weight, Fold(window=tuple(module.weight.shape[2:]), groups=module.groups))
    return found


def _array(parameter: Any) -> NDArray[Any]:
    return np.asarray(parameter.detach().cpu().float().numpy())


class Prune:
    """Chooses masks along a schedule, and keeps what they drop at zero after each step of the optimizer.

    Args:
        model: the torch.nn.Module that is trained; its weights may move to another device.
        rules: what is pruned, by the names of the weights (``weights_of``).
        schedule: in steps of the optimizer.
        masks: masks to begin with: those of a lottery ticket, with a schedule that is never due.

    Raises:
        UsageError: a rule or mask is of no weight that the model has; the text lists those that it has.
    """

    def __init__(
        self, model: Any, rules: Mapping[str, Rule], schedule: Schedule, masks: Mapping[str, NDArray[np.bool_]] | None = None
    ) -> None:
        weights = weights_of(model)
        for name in (*rules, *(masks or {})):
            if name not in weights:
                raise UsageError(f"{name}: the model has no such weight, expected one of {', '.join(sorted(weights))}")
        self.model, self.steps = model, 0
        self._pruner = Pruner(dict(rules), {name: fold for name, (_, fold) in weights.items()}, schedule, dict(masks or {}))
        self._kept: dict[str, Any] = {}
        self._choose()

    @property
    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """The masks of now, in the shape of the weights; True = kept."""
        return self._pruner.masks

    def attach(self, optimizer: Any) -> Any:
        """From now on `step` follows each step of the optimizer.

        Args:
            optimizer: a torch.optim.Optimizer.

        Returns:
            The optimizer.
        """
        if hasattr(optimizer, "register_step_post_hook"):
            optimizer.register_step_post_hook(lambda *_: self.step())
            return optimizer
        step = optimizer.step  # torch before 2.1 has no such hook

        def step_and_prune(_: Any, *args: Any, **kwargs: Any) -> Any:
            result = step(*args, **kwargs)
            self.step()
            return result

        optimizer.step = types.MethodType(step_and_prune, optimizer)  # a method, as learning rate schedules expect
        return optimizer

    def step(self) -> None:
        """After a step of the optimizer: masks are chosen anew where the schedule says so, what is dropped is zero again."""
        self.steps += 1
        self._choose()

    def _choose(self) -> None:
        weights = weights_of(self.model)
        if self._pruner.schedule.is_due(self.steps):
            self._pruner.update(self.steps, {name: _array(weights[name][0]) for name in self._pruner.rules})
            self._kept.clear()
        with torch.no_grad():
            for name, mask in self._pruner.masks.items():
                parameter = weights[name][0]
                kept = self._kept.get(name)
                if kept is None or kept.device != parameter.device:
                    kept = self._kept[name] = torch.from_numpy(np.ascontiguousarray(mask)).to(parameter.device)
                parameter.copy_(torch.where(kept, parameter, torch.zeros_like(parameter)))


def rewound(model: Any, initial: Mapping[str, Any], masks: Mapping[str, NDArray[np.bool_]]) -> None:
    """Puts the weights from before the training back, under the masks that it found (lottery ticket).

    Args:
        model: of the architecture that was trained.
        initial: its ``state_dict`` from before (copied: ``{name: value.clone() for name, value in model.state_dict().items()}``).
        masks: those of ``Prune``.
    """
    model.load_state_dict(initial)
    weights = weights_of(model)
    tickets = rewind({name: _array(weights[name][0]) for name in masks}, masks)
    with torch.no_grad():
        for name, array in tickets.items():
            weights[name][0].copy_(torch.from_numpy(masked(array, masks[name])))
