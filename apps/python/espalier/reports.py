"""What the commands return; made by make_commands.py from docs/report.schema.json. More keys may be there."""

from typing import Any, Literal, NotRequired, TypedDict


class Machine(TypedDict):
    """Part of a report."""

    processor: str
    simd: str
    threads: int


class Run(TypedDict):
    """How the report came about; model_sha256 is that of the first model, data_sha256 of all data and labels.

    Of one file its SHA-256, of several that of the lines that sha256sum prints of them, sorted by name.
    """

    version: str
    commit: str
    command: str | None
    date: str
    seed: int
    threads: int
    machine: Machine
    libraries: dict[str, str]
    model_sha256: str | None
    data_sha256: str | None


class File(TypedDict):
    """Part of a report."""

    file: str | None
    bytes: int | None


class Metric(TypedDict):
    """Part of a report."""

    name: str
    a: float | None
    b: float | None
    drop: float | None
    drop_low: float | None
    drop_high: float | None


class Speed(TypedDict):
    """Part of a report."""

    dense_ms: float | None
    packed_ms: float | None
    speedup: float | None
    threads: int
    runs: int
    spread: float | None


class CurvePoint(TypedDict):
    """Part of a report."""

    sparsity: float | None
    metric: float | None
    magnitude: float | None
    bytes: int | None
    ms: float | None
    values: str | None
    drop_low: float | None
    drop_high: float | None


class Tensor(TypedDict):
    """Part of a report."""

    name: str
    type: str
    shape: list[int] | None


class InspectedLayer(TypedDict):
    """Part of a report."""

    name: str
    node: str | None
    weight: str
    operator: str
    shape: list[int]
    matrix: list[int]
    type: str
    values: NotRequired[str]
    block: str
    weights: int
    zeros: float | None
    bytes: int
    left_out: str | None


class Layer(TypedDict):
    """Part of a report."""

    name: str
    node: str | None
    weight: str
    operator: str
    shape: list[int]
    matrix: list[int]
    block: str | None
    weights: int
    zeros: float | None
    blocks: int
    blocks_kept: int
    diagonal: int
    bytes_before: int
    bytes_after: int
    output_error: float | None
    magnitude_error: float | None
    ms_dense: float | None
    ms_sparse: float | None
    left_out: str | None


class Verdict(TypedDict):
    """Part of a report."""

    name: Literal["size", "accuracy", "speed"]
    ok: bool | None
    text: str


class InspectOtherConstant(TypedDict):
    """Part of a report."""

    weight: str
    node: str | None
    operator: str
    shape: list[int]
    type: str
    reason: str


class InspectTotal(TypedDict):
    """Part of a report."""

    layers: int
    weights: int
    zeros: float | None
    bytes: int


class Inspect(TypedDict):
    """Part of a report."""

    run: Run
    file: str
    format: str
    bytes: int
    operators: dict[str, int]
    inputs: list[Tensor]
    outputs: list[Tensor]
    layers: list[InspectedLayer]
    other_constants: list[InspectOtherConstant]
    total: InspectTotal


class PruneTotal(TypedDict):
    """Part of a report."""

    layers: int
    weights: int
    zeros: float | None
    bytes_before: int
    bytes_after: int


class Prune(TypedDict):
    """Also of convert and mask apply; curve where a target or --curve was given."""

    run: Run
    input: File
    output: File
    options: dict[str, Any]
    metric: Metric | None
    speed: Speed | None
    layers: list[Layer]
    total: PruneTotal
    curve: NotRequired[list[CurvePoint]]
    verdicts: list[Verdict]


class Difference(TypedDict):
    """Part of a report."""

    name: str
    max_abs: float | None
    max_rel: float | None
    cosine: float | None
    ok: bool


class VerifyTolerance(TypedDict):
    """Part of a report."""

    abs: float | None
    rel: float | None


class Verify(TypedDict):
    """Also of run --check."""

    run: Run
    a: str
    b: str
    samples: int
    ok: bool
    tolerance: VerifyTolerance
    outputs: list[Difference]
    metric: Metric | None


class BenchModel(TypedDict):
    """Part of a report."""

    file: str
    inputs: dict[str, list[int]]
    runs: int
    median_ms: float | None
    p95_ms: float | None
    min_ms: float | None
    peak_bytes: int | None
    speedup: float | None


class Bench(TypedDict):
    """Part of a report."""

    run: Run
    machine: Machine
    models: list[BenchModel]


class KernelsKernel(TypedDict):
    """Part of a report."""

    kernel: str
    block: str
    m: int
    k: int
    n: int
    sparsity: float | None
    dtype: str
    threads: int
    gflops_nonzero: float | None
    speedup_vs_dense: float | None


class Kernels(TypedDict):
    """Bench --kernels."""

    run: Run
    machine: Machine
    kernels: list[KernelsKernel]


class AdviseModel(TypedDict):
    """Part of a report."""

    block: str
    break_even: float | None
    worth: bool
    ms_dense: float | None
    ms_packed_80: float | None
    ms_packed_90: float | None


class AdviseLayer(TypedDict):
    """Part of a report."""

    name: str
    node: str | None
    weight: str
    matrix: list[int]
    n: int
    block: str | None
    break_even: float | None
    worth: bool | None
    ms_dense: float | None
    ms_packed_80: float | None
    ms_packed_90: float | None
    left_out: str | None


class Advise(TypedDict):
    """Part of a report."""

    run: Run
    machine: Machine
    model: AdviseModel
    layers: list[AdviseLayer]


class CalibrateLayer(TypedDict):
    """Part of a report."""

    weight: str
    node: str | None
    groups: int
    inputs: int
    samples: int
    left_out: str | None


class Calibrate(TypedDict):
    """Part of a report."""

    run: Run
    model: str | None
    feeds: int
    output: str
    layers: list[CalibrateLayer]


class DiffWeight(TypedDict):
    """Part of a report."""

    name: str
    state: str


class Diff(TypedDict):
    """Part of a report."""

    run: Run
    a: dict[str, Any]
    b: dict[str, Any]
    same_structure: bool
    same_weights: int
    operators: list[dict[str, Any]]
    weights: list[DiffWeight]


class MaskMask(TypedDict):
    """Part of a report."""

    weight: str
    shape: list[int]


class Mask(TypedDict):
    """Mask export, union, intersect and diff."""

    run: Run
    masks: list[MaskMask]


class SweepDense(TypedDict):
    """Part of a report."""

    file: str
    bytes: int
    median_ms: float | None
    metric: float | None


class SweepInt8(TypedDict):
    """Part of a report."""

    file: str
    bytes: int
    median_ms: float | None
    metric: float | None


class SweepPoint(TypedDict):
    """Part of a report."""

    method: str
    block: str
    sparsity: float | None
    values: str | None
    effort: str | None
    file: str
    sha256: str | None
    bytes: int
    zeros: float | None
    output_error: float | None
    metric: float | None
    median_ms: float | None
    speedup: float | None
    pareto: bool


class Sweep(TypedDict):
    """DIR/results.json. dense.

    The input; int8: its weights in i8 with inputs rounded as they come, nothing pruned; pareto: no other point is at least as good in
    error, time and bytes and better in one of them.
    """

    run: Run
    model: str
    metric_name: str | None
    dense: SweepDense
    int8: SweepInt8 | None
    picked: str | None
    points: list[SweepPoint]
