"""Models that run: ``Session``."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core
from .errors import UsageError

_ONNX_TYPES = {
    "f32": "tensor(float)", "f64": "tensor(double)", "f16": "tensor(float16)", "bf16": "tensor(bfloat16)", "i8": "tensor(int8)",
    "i16": "tensor(int16)", "i32": "tensor(int32)", "i64": "tensor(int64)", "u8": "tensor(uint8)", "u16": "tensor(uint16)",
    "u32": "tensor(uint32)", "u64": "tensor(uint64)", "bool": "tensor(bool)",
}  # fmt: skip


@dataclass(frozen=True)
class NodeArg:
    """An input or output as the model declares it.

    Attributes:
        name: its name.
        type: its type as onnxruntime writes it, ``"tensor(float)"``; ``""`` where the model has none that espalier runs.
        shape: its extents: a number, the name of a free one, or None; ``None`` where the model declares no shape.
    """

    name: str
    type: str
    shape: list[int | str | None] | None


@dataclass(frozen=True)
class LayerTime:
    """Time of one node of the graph.

    Attributes:
        op: its operator.
        name: its name.
        seconds: the sum over all runs so far.
    """

    op: str
    name: str
    seconds: float


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    # NumPy has no bf16; ml_dtypes' is told by its name.
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


def _input(name: str, value: ArrayLike) -> NDArray[Any]:
    array = np.asarray(value)
    if not array.dtype.isnative or array.dtype.kind not in "fiubV":
        raise UsageError(f"input {name}: type is {array.dtype}, expected numbers in the machine's byte order")
    return _bits(array if array.flags.c_contiguous else np.ascontiguousarray(array))


class Session:
    """A model that runs, as ``onnxruntime.InferenceSession`` does.

    Args:
        path: an ONNX file, or NNEF as a folder, ``.tar`` or ``.tgz``; or the bytes of such a file. The file must not change while the
            session exists.
        threads: threads of a run; 0: all processors. Results do not depend on it.
        keep_state: runs are pieces of a stream: GRU, LSTM and RNN whose initial state the model leaves out, or sets to zeros, go on from
            where the run before ended, until ``reset()``.
        profile: the time of each node is kept for ``profile()``.
        always_packed: packed weights run packed also where dense ones are faster.
        exact_values: inputs of i8 weights are not rounded to 8 bits.

    Raises:
        FormatError: the file is missing or broken; the text says what and where.
        UnsupportedError: an operator cannot be run; the text names it.
        UsageError: a wrong argument.

    Any number of threads may call a session, one after the other. Work is done without Python's lock, so sessions of their own run at the
    same time.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | bytes,
        threads: int = 1,
        *,
        keep_state: bool = False,
        profile: bool = False,
        always_packed: bool = False,
        exact_values: bool = False,
    ) -> None:
        if threads < 0:
            raise UsageError(f"threads is {threads}, expected 0 to 1024")
        flags = (
            _core.KEEP_STATE * keep_state
            | _core.PROFILE * profile
            | _core.ALWAYS_PACKED * always_packed
            | _core.EXACT_VALUES * exact_values
        )
        self._core = _core.Session(path if isinstance(path, bytes) else os.fspath(path), threads, flags)
        self._inputs = [NodeArg(name, _ONNX_TYPES.get(kind, ""), shape) for name, kind, shape in self._core.inputs()]
        self._outputs = [NodeArg(name, _ONNX_TYPES.get(kind, ""), shape) for name, kind, shape in self._core.outputs()]
        self._bf16 = {arg.name for arg in self._outputs if arg.type == "tensor(bfloat16)"}
        # What is called in every step of a stream is not wrapped.
        self.step = self._core.step

    def get_inputs(self) -> list[NodeArg]:
        """The inputs that are fed, in the model's order."""
        return list(self._inputs)

    def get_outputs(self) -> list[NodeArg]:
        """The outputs, in the model's order."""
        return list(self._outputs)

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, ArrayLike]) -> list[NDArray[Any]]:
        """Runs the model once.

        Args:
            output_names: which outputs, in which order; None: all.
            input_feed: an array for each input that is not bound or carried, of the model's type and extents. Arrays in C order are read
                where they lie; others are copied.

        Returns:
            Arrays of their own, one for each name. Outputs of bf16 hold its bits as uint16 where ml_dtypes is not installed.

        Raises:
            UsageError: an input or output is unknown, missing, or of another type or shape than declared; the text names it.
            FormatError: shapes inside the model do not fit each other; the text names the node.
        """
        names = [arg.name for arg in self._outputs] if output_names is None else list(output_names)
        found = self._core.run(names, {name: _input(name, value) for name, value in input_feed.items()})
        return [self._typed(name, array) for name, array in zip(names, found, strict=True)] if self._bf16 else found

    def bind_input(self, name: str, array: NDArray[Any]) -> None:
        """Reads the input from ``array`` at every ``step()`` from now on: write the next values into it.

        Args:
            name: the input.
            array: of the model's type and extents, in C order. It is not copied, and kept alive.

        Raises:
            UsageError: the input is unknown, or the array is of another type or shape, or not in C order.
        """
        if not array.flags.c_contiguous:
            raise UsageError(f"input {name}: expected an array in C order")
        self._core.bind_input(name, _bits(array))

    def bind_output(self, name: str, array: NDArray[Any] | None) -> None:
        """Copies the output to ``array`` after each run; None: no longer.

        Args:
            name: the output.
            array: of the output's type and number of bytes, in C order, writable. It is kept alive.

        Raises:
            UsageError: the output is unknown, or the array is of another type, read-only or not in C order; of a run: the output has
                another number of bytes.
        """
        if array is not None and not (array.flags.c_contiguous and array.flags.writeable):
            raise UsageError(f"output {name}: expected a writable array in C order")
        self._core.bind_output(name, None if array is None else _bits(array))

    def carry(self, input: str, output: str, shape: Sequence[int] | None = None) -> None:
        """Streams: ``input`` is zero in the first run, and what ``output`` was in the run before from then on; it is not fed.

        Args:
            input: the state that goes in.
            output: the state that comes out.
            shape: extents of the input; None: as declared, with 1 for each that is free.

        Raises:
            UsageError: the input or output is unknown; of a run: they do not fit.
        """
        self._core.carry(input, output, None if shape is None else list(shape))

    def reset(self) -> None:
        """All carried and kept states are zero in the next run: the begin of a stream."""
        self._core.reset()

    def output(self, name: str) -> NDArray[Any]:
        """An output of the last run, as an array of its own.

        Raises:
            UsageError: the output is unknown.
        """
        return self._typed(name, self._core.output(name))

    def view(self, name: str) -> NDArray[Any]:
        """An output of the last run where it lies, read-only.

        The next run uses that memory again: as long as the array, or one made of it, is alive, the session refuses to run or to bind.

        Raises:
            UsageError: the output is unknown.
        """
        return self._typed(name, self._core.view(name))

    def profile(self) -> list[LayerTime]:
        """Time of each node so far, in the order of the run; empty for a session without ``profile=True``."""
        return [LayerTime(*layer) for layer in self._core.profile()]

    @property
    def weight_bytes(self) -> int:
        """Bytes held for weights."""
        return self._core.weight_bytes()

    @property
    def value_bytes(self) -> int:
        """Bytes held for values in between, since the last change of shapes."""
        return self._core.value_bytes()

    def _typed(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        if name not in self._bf16:
            return array
        try:
            import ml_dtypes
        except ImportError:
            return array
        return array.view(ml_dtypes.bfloat16)
