"""Block pruning of neural networks: prunes, packs, verifies and runs ONNX and NNEF models at the speed of their sparsity.

``Session`` runs a model as ``onnxruntime.InferenceSession`` does. ``inspect``, ``advise``, ``calibrate``, ``prune``, ``convert``,
``verify``, ``diff``, ``sweep`` and ``bench`` are the program's commands in this process, their keywords the program's options.
``onnxruntime_library()`` makes ONNX Runtime run packed files at the speed of their sparsity. ``pack``, ``decode``, ``masks_of`` and
``apply_masks`` work on arrays; ``espalier.masks`` chooses masks in a training loop, ``espalier.layouts`` maps those to the exported file.
"""

import os

from . import _core, reports
from ._core import __version__, simd_target
from .commands import advise, bench, calibrate, convert, diff, inspect, prune, sweep, verify
from .errors import Error, FormatError, ToleranceError, UnsupportedError, UsageError
from .line import EspalierWarning
from .mask_files import Masks, apply_masks, masks_of, read_masks
from .packing import Packed, decode, pack
from .session import LayerTime, NodeArg, Session


def onnxruntime_library() -> str:
    """The path of espalier's operators for ONNX Runtime.

    ``session_options.register_custom_ops_library(espalier.onnxruntime_library())`` is all: files of the profiles ``region`` and
    ``operator`` then run at the speed of their sparsity. It is the library that this package has loaded already.

    Raises:
        UnsupportedError: the package was built without ONNX Runtime's C header.
    """
    if not _core.HAS_ONNXRUNTIME:
        raise UnsupportedError("the package was built without onnxruntime's header")
    return os.path.abspath(_core.__file__)


__all__ = [
    "Error",
    "EspalierWarning",
    "FormatError",
    "LayerTime",
    "Masks",
    "NodeArg",
    "Packed",
    "Session",
    "ToleranceError",
    "UnsupportedError",
    "UsageError",
    "__version__",
    "advise",
    "apply_masks",
    "bench",
    "calibrate",
    "convert",
    "decode",
    "diff",
    "inspect",
    "masks_of",
    "onnxruntime_library",
    "pack",
    "prune",
    "read_masks",
    "reports",
    "simd_target",
    "sweep",
    "verify",
]
