"""The commands of the program as functions; made by make_commands.py from --help."""

from typing import Literal, cast

from . import line, reports
from .line import Data, Labels, Masks, Pairs, Path, Progress, Say, Words


def inspect(
    model: Path,
    *,
    threads: int | None = None,
    simd: str | None = None,
    seed: int | None = None,
    html: Path | None = None,
    md: Path | None = None,
    csv: Path | None = None,
    progress: Progress | None = None,
    warning: Say | None = None,
    note: Say | None = None,
) -> reports.Inspect:
    """Describe a model: layers, shapes, zeros, block patterns, sizes.

    Sizes are in bytes, times in milliseconds, shares from 0 to 1. ``espalier inspect --help`` and docs/cli.md say more.

    Args:
        model: model to describe.
        threads: number of threads (0: all processors).
        simd: instruction set of the kernels (the best available).
        seed: seed of all random numbers (0).
        html: write the report as one HTML page.
        md: write the report as Markdown.
        csv: write the tables as CSV.
        progress: called with what is done, how many steps of it are, and of how many; what it raises ends the work.
        warning: called with the text of each warning; None: warnings.warn.
        note: called with what the program prints with --verbose.

    Returns:
        The report, as ``--json`` writes it.

    Raises:
        UsageError: the options are wrong.
        FormatError: a file is missing, broken or does not fit the others, or cannot be written.
        UnsupportedError: something that this version does not have.
    """
    return cast("reports.Inspect", line.report("inspect", ["model"], locals()))


def advise(
    model: Path,
    *,
    block: Words | None = None,
    machine: Path | None = None,
    inputs: Data | None = None,
    batch: int | None = None,
    state: Pairs | None = None,
    fill: Pairs | None = None,
    threads: int | None = None,
    simd: str | None = None,
    seed: int | None = None,
    html: Path | None = None,
    md: Path | None = None,
    csv: Path | None = None,
    progress: Progress | None = None,
    warning: Say | None = None,
    note: Say | None = None,
) -> reports.Advise:
    """Estimate whether pruning makes a model faster, with which block and from which sparsity.

    Sizes are in bytes, times in milliseconds, shares from 0 to 1. ``espalier advise --help`` and docs/cli.md say more.

    Args:
        model: model whose pruning is considered.
        block: block shapes to compare (16x1,16x4,8x1,8x4,4x8,1x4,1x1).
        machine: predict for the machine on which `bench --kernels --json F` ran instead of measuring on this one.
        inputs: inputs to measure with (the first sample; random inputs if not given).
        batch: samples per feed if the first axis is free (1).
        state: start input IN at zero and feed it output OUT of the previous sample; repeatable.
        fill: constant for an input that DATA does not contain; repeatable.
        threads: number of threads (0: all processors).
        simd: instruction set of the kernels (the best available).
        seed: seed of all random numbers (0).
        html: write the report as one HTML page.
        md: write the report as Markdown.
        csv: write the tables as CSV.
        progress: called with what is done, how many steps of it are, and of how many; what it raises ends the work.
        warning: called with the text of each warning; None: warnings.warn.
        note: called with what the program prints with --verbose.

    Returns:
        The report, as ``--json`` writes it.

    Raises:
        UsageError: the options are wrong.
        FormatError: a file is missing, broken or does not fit the others, or cannot be written.
        UnsupportedError: something that this version does not have.
    """
    return cast("reports.Advise", line.report("advise", ["model"], locals()))


def calibrate(
    model: Path | None = None,
    *,
    output: Path | None = None,
    merge: Words | None = None,
    min_weights: int | None = None,
    depthwise: bool = False,
    force: Words | None = None,
    positions: int | None = None,
    calib_memory: int | str | None = None,
    keep_inputs: int | str | None = None,
    inputs: Data | None = None,
    batch: int | None = None,
    state: Pairs | None = None,
    fill: Pairs | None = None,
    mask_tokens: str | None = None,
    threads: int | None = None,
    simd: str | None = None,
    seed: int | None = None,
    html: Path | None = None,
    md: Path | None = None,
    csv: Path | None = None,
    progress: Progress | None = None,
    warning: Say | None = None,
    note: Say | None = None,
) -> reports.Calibrate:
    """Collect the input statistics that prune uses.

    Sizes are in bytes, times in milliseconds, shares from 0 to 1. ``espalier calibrate --help`` and docs/cli.md say more.

    Args:
        model: model to run.
        output: file to write.
        merge: merge these statistics files of the same model.
        min_weights: leave out smaller weights (1024).
        depthwise: include depthwise convolutions.
        force: include fixed transforms with these names; repeatable.
        positions: positions sampled per image in a convolution, 0 for all (4096).
        calib_memory: memory for the sums; larger sums are collected in several passes (2 GiB for a layer, 512 MiB for a pass of several).
        keep_inputs: bytes of inputs that the file keeps, so that prune chooses by the outputs as it does with the inputs themselves; 0
            keeps none (32 MiB).
        inputs: calibration inputs, unlabelled.
        batch: samples per feed if the first axis is free (1).
        state: start input IN at zero and feed it output OUT of the previous sample; repeatable.
        fill: constant for an input that DATA does not contain; repeatable.
        mask_tokens: input that is 0 where a token is padding: statistics leave these tokens out.
        threads: number of threads (0: all processors).
        simd: instruction set of the kernels (the best available).
        seed: seed of all random numbers (0).
        html: write the report as one HTML page.
        md: write the report as Markdown.
        csv: write the tables as CSV.
        progress: called with what is done, how many steps of it are, and of how many; what it raises ends the work.
        warning: called with the text of each warning; None: warnings.warn.
        note: called with what the program prints with --verbose.

    Returns:
        The report, as ``--json`` writes it.

    Raises:
        UsageError: the options are wrong.
        FormatError: a file is missing, broken or does not fit the others, or cannot be written.
        UnsupportedError: something that this version does not have.
    """
    return cast("reports.Calibrate", line.report("calibrate", ["model"], locals()))


def prune(
    input: Path,
    output: Path | None = None,
    *,
    sparsity: float | str | None = None,
    target_size: int | str | None = None,
    target_latency: float | None = None,
    machine: Path | None = None,
    max_drop: float | str | None = None,
    confident: bool = False,
    assert_drop: float | str | None = None,
    schedule: str | None = None,
    at_step: int | None = None,
    block: str | None = None,
    nm: str | None = None,
    method: str | None = None,
    scope: float | str | None = None,
    diagonal: Literal["keep", "prune"] | None = None,
    op: Words | None = None,
    min_weights: int | None = None,
    depthwise: bool = False,
    keep_first_last: bool = False,
    force: Words | None = None,
    exclude: Words | None = None,
    layer: Words | None = None,
    mask_in: Masks | None = None,
    mask_out: Path | None = None,
    rewind: Path | None = None,
    recipe: Path | None = None,
    save_recipe: Path | None = None,
    sequential: bool = False,
    effort: Literal["fast", "default", "best"] | None = None,
    no_refit: bool = False,
    values: Literal["f32", "f16", "bf16", "i8", "auto"] | None = None,
    profile: str | None = None,
    for_: str | None = None,
    index: Literal["grid", "first-element", "mask", "bitmap"] | None = None,
    keep_io_names: bool = False,
    input_shape: Pairs | None = None,
    memory: int | str | None = None,
    in_place: bool = False,
    no_verify: bool = False,
    dry_run: bool = False,
    eval: Data | None = None,
    calib: Data | None = None,
    curve: Words | None = None,
    calib_memory: int | str | None = None,
    cache: Path | None = None,
    mask_tokens: str | None = None,
    inputs: Data | None = None,
    batch: int | None = None,
    state: Pairs | None = None,
    fill: Pairs | None = None,
    labels: Labels | None = None,
    metric: str | None = None,
    metric_cmd: str | None = None,
    threads: int | None = None,
    simd: str | None = None,
    seed: int | None = None,
    html: Path | None = None,
    md: Path | None = None,
    csv: Path | None = None,
    progress: Progress | None = None,
    warning: Say | None = None,
    note: Say | None = None,
) -> reports.Prune:
    """Prune the weakest blocks, pack the rest, verify and report.

    Sizes are in bytes, times in milliseconds, shares from 0 to 1. ``espalier prune --help`` and docs/cli.md say more.

    Args:
        input: model to prune.
        output: model to write; the extension selects the format.
        sparsity: share of the weights of the selected layers to prune (0.5).
        target_size: lowest sparsity whose output file is at most BYTES (replaces --sparsity).
        target_latency: lowest sparsity whose run takes at most MS milliseconds here, with --threads (replaces --sparsity).
        machine: predict --target-latency for the machine on which `bench --kernels --json F` ran.
        max_drop: highest sparsity that lowers the metric by at most D, or by P percent of its value (replaces --sparsity).
        confident: --max-drop holds for the upper end of the drop's interval, not for the drop measured.
        assert_drop: end with status 3 if the metric loses more than D, or than P percent of its value; OUT is written all the same.
        schedule: prune in N rounds along a cubic curve, each from the result of the round before.
        at_step: prune once, to the sparsity that the schedule has at step T.
        block: block shape, outputs x inputs, or auto: the fastest here, as advise measures it (16x1).
        nm: keep N of every M weights along the inputs (replaces --block).
        method: l1, l2, max, wanda, sparsegpt, admm, obs, random: criterion that scores blocks (obs with --calib, else l2).
        scope: how the sparsity is distributed: layer, global or sensitivity (sensitivity with obs, else layer).
        diagonal: keep or prune the diagonals of square recurrent matrices (keep).
        op: operators whose weights are pruned (all that can be).
        min_weights: leave smaller weights dense (1024).
        depthwise: prune depthwise convolutions too.
        keep_first_last: leave the first and the last layer dense.
        force: prune fixed transforms with these names too; repeatable.
        exclude: never change these weights; repeatable.
        layer: set block, sparsity, method, nm, gate-density or skip for the weights that match; repeatable.
        mask_in: apply these masks (.npz) instead of scoring.
        mask_out: write the masks.
        rewind: apply the masks of IN to this checkpoint.
        recipe: read options from a JSON file; the command line overrides them.
        save_recipe: write the options that were used to a recipe.
        sequential: choose and refit layer by layer, on the inputs that the layers pruned before produce.
        effort: fast prunes all layers at once; default, where that is cheap, also one after the other, and keeps what changes the outputs
            of inputs held apart less; best at any cost (default).
        no_refit: leave the kept weights unchanged even with --calib.
        values: type of the stored kept values: f32, f16, bf16, i8, or auto with --max-drop: for each layer f32, f16 or i8, by what the
            outputs lose, also for layers that are left dense and tables of Gather (the weight's own type).
        profile: how packed weights are written; NNEF: tract, portable, operator, opaque or dense (tract); ONNX: inline, function,
            operator, region, sparse-value, sparse-initializer or dense (inline).
        for_: who reads OUT next, in place of --profile: onnxruntime, openvino, deepsparse (ONNX), tract (NNEF) or espalier (the fewest
            bytes).
        index: how the positions of blocks are written: grid, pairs of numbers; bitmap, one bit for each block of the grid; first-element;
            or mask, a dense 0/1 mask (NNEF) (grid or bitmap, whichever takes fewer bytes).
        keep_io_names: refuse input and output names that the format cannot store instead of renaming them.
        input_shape: bind the free dimensions of an input, ? leaves one free; NAME:D,D,... is equivalent; repeatable.
        memory: memory of the runs that check the output: a model that needs more is compared weight by weight (half of what is available,
            for weights of up to 1 GiB).
        in_place: write to IN; allows OUT to be IN.
        no_verify: skip running the models and reading OUT back.
        dry_run: do everything except writing OUT.
        eval: inputs on which the metric is measured.
        calib: calibration inputs without labels, or a file written by calibrate: used by wanda, sparsegpt and obs and to refit the kept
            weights.
        curve: also measure the metric at these sparsities, and with magnitude pruning.
        calib_memory: memory for the sums of calibration; larger sums are collected in several passes (2 GiB for a layer, 512 MiB for a
            pass of several).
        cache: folder that keeps statistics, scores and the sensitivity scan: a run of the same model and calibration inputs takes them
            from there.
        mask_tokens: input that is 0 where a token is padding: statistics leave these tokens out.
        inputs: inputs on which the result is verified (those of --eval, --calib, or random ones).
        batch: samples per feed if the first axis is free (1).
        state: start input IN at zero and feed it output OUT of the previous sample; repeatable.
        fill: constant for an input that DATA does not contain; repeatable.
        labels: labels or reference values in a .npy file, samples along the first axis.
        metric: top1, top5, cosine, snr, mse, auc (top1).
        metric_cmd: command that prints one number for the model file {model}.
        threads: number of threads (0: all processors).
        simd: instruction set of the kernels (the best available).
        seed: seed of all random numbers (0).
        html: write the report as one HTML page.
        md: write the report as Markdown.
        csv: write the tables as CSV.
        progress: called with what is done, how many steps of it are, and of how many; what it raises ends the work.
        warning: called with the text of each warning; None: warnings.warn.
        note: called with what the program prints with --verbose.

    Returns:
        The report, as ``--json`` writes it.

    Raises:
        UsageError: the options are wrong.
        FormatError: a file is missing, broken or does not fit the others, or cannot be written.
        UnsupportedError: something that this version does not have.
        ToleranceError: packed and decoded weights disagree, or the metric lost more than was allowed.
    """
    return cast("reports.Prune", line.report("prune", ["input", "output"], locals()))


def convert(
    input: Path | None = None,
    output: Path | None = None,
    *,
    pack: str | None = None,
    values: Literal["f32", "f16", "bf16", "i8"] | None = None,
    zero_below: str | None = None,
    profile: str | None = None,
    for_: str | None = None,
    index: Literal["grid", "first-element", "mask", "bitmap"] | None = None,
    keep_io_names: bool = False,
    input_shape: Pairs | None = None,
    memory: int | str | None = None,
    in_place: bool = False,
    no_verify: bool = False,
    dry_run: bool = False,
    eval: Data | None = None,
    inputs: Data | None = None,
    batch: int | None = None,
    state: Pairs | None = None,
    fill: Pairs | None = None,
    labels: Labels | None = None,
    metric: str | None = None,
    metric_cmd: str | None = None,
    threads: int | None = None,
    simd: str | None = None,
    seed: int | None = None,
    html: Path | None = None,
    md: Path | None = None,
    csv: Path | None = None,
    progress: Progress | None = None,
    warning: Say | None = None,
    note: Say | None = None,
) -> reports.Prune:
    """Convert between ONNX and NNEF, dense and packed; values change only with --values and --zero-below.

    Sizes are in bytes, times in milliseconds, shares from 0 to 1. ``espalier convert --help`` and docs/cli.md say more.

    Args:
        input: model to convert.
        output: model to write; the extension selects the format.
        pack: block for packing the zeros of the model: auto (the smallest result), RxC or none (auto).
        values: type of the stored packed values: f32, f16, bf16 or i8 (unchanged).
        zero_below: make zeros of elements of at most R times the largest magnitude of their weight.
        profile: how packed weights are written; NNEF: tract, portable, operator, opaque or dense (tract); ONNX: inline, function,
            operator, region, sparse-value, sparse-initializer or dense (inline).
        for_: who reads OUT next, in place of --profile: onnxruntime, openvino, deepsparse (ONNX), tract (NNEF) or espalier (the fewest
            bytes).
        index: how the positions of blocks are written: grid, pairs of numbers; bitmap, one bit for each block of the grid; first-element;
            or mask, a dense 0/1 mask (NNEF) (grid or bitmap, whichever takes fewer bytes).
        keep_io_names: refuse input and output names that the format cannot store instead of renaming them.
        input_shape: bind the free dimensions of an input, ? leaves one free; NAME:D,D,... is equivalent; repeatable.
        memory: memory of the runs that check the output: a model that needs more is compared weight by weight (half of what is available,
            for weights of up to 1 GiB).
        in_place: write to IN; allows OUT to be IN.
        no_verify: skip running the models and reading OUT back.
        dry_run: do everything except writing OUT.
        eval: inputs on which the metric is measured.
        inputs: inputs on which the result is verified (random ones).
        batch: samples per feed if the first axis is free (1).
        state: start input IN at zero and feed it output OUT of the previous sample; repeatable.
        fill: constant for an input that DATA does not contain; repeatable.
        labels: labels or reference values in a .npy file, samples along the first axis.
        metric: top1, top5, cosine, snr, mse, auc (top1).
        metric_cmd: command that prints one number for the model file {model}.
        threads: number of threads (0: all processors).
        simd: instruction set of the kernels (the best available).
        seed: seed of all random numbers (0).
        html: write the report as one HTML page.
        md: write the report as Markdown.
        csv: write the tables as CSV.
        progress: called with what is done, how many steps of it are, and of how many; what it raises ends the work.
        warning: called with the text of each warning; None: warnings.warn.
        note: called with what the program prints with --verbose.

    Returns:
        The report, as ``--json`` writes it.

    Raises:
        UsageError: the options are wrong.
        FormatError: a file is missing, broken or does not fit the others, or cannot be written.
        UnsupportedError: something that this version does not have.
        ToleranceError: packed and decoded weights disagree, or the metric lost more than was allowed.
    """
    return cast("reports.Prune", line.report("convert", ["input", "output"], locals()))


def verify(
    a: Path,
    b: Path,
    *,
    abs: float | None = None,
    rel: float | None = None,
    no_pass: Words | None = None,
    inputs: Data | None = None,
    batch: int | None = None,
    state: Pairs | None = None,
    fill: Pairs | None = None,
    labels: Labels | None = None,
    metric: str | None = None,
    max_drop: float | str | None = None,
    threads: int | None = None,
    simd: str | None = None,
    seed: int | None = None,
    html: Path | None = None,
    md: Path | None = None,
    csv: Path | None = None,
    progress: Progress | None = None,
    warning: Say | None = None,
    note: Say | None = None,
) -> reports.Verify:
    """Check that B computes what A computes, and packed B what decoded B computes.

    Sizes are in bytes, times in milliseconds, shares from 0 to 1. ``espalier verify --help`` and docs/cli.md say more.

    Args:
        a: reference model.
        b: model to compare with A.
        abs: absolute tolerance per element (1e-4; f16 4e-3, bf16 3e-2).
        rel: tolerance per element relative to its size, added to the absolute one (the same).
        no_pass: disable this graph pass; repeatable: recurrent_loops, loop_invariants, fold_constants, gelu, silu, hard_swish,
            layer_norm, attention, conv_affine, matmul_bias, activation, dead_nodes.
        inputs: inputs to run both models on (without them weights are compared).
        batch: samples per feed if the first axis is free (1).
        state: start input IN at zero and feed it output OUT of the previous sample; repeatable.
        fill: constant for an input that DATA does not contain; repeatable.
        labels: labels or reference values in a .npy file, samples along the first axis.
        metric: top1, top5, cosine, snr, mse, auc (top1).
        max_drop: judge by the metric instead of the tolerance: status 3 if it loses more than D, or than P percent of its value.
        threads: number of threads (0: all processors).
        simd: instruction set of the kernels (the best available).
        seed: seed of all random numbers (0).
        html: write the report as one HTML page.
        md: write the report as Markdown.
        csv: write the tables as CSV.
        progress: called with what is done, how many steps of it are, and of how many; what it raises ends the work.
        warning: called with the text of each warning; None: warnings.warn.
        note: called with what the program prints with --verbose.

    Returns:
        The report, whose ``ok`` says whether the models agree.

    Raises:
        UsageError: the options are wrong.
        FormatError: a file is missing, broken or does not fit the others, or cannot be written.
        UnsupportedError: something that this version does not have.
    """
    return cast("reports.Verify", line.report("verify", ["a", "b"], locals()))


def diff(
    a: Path,
    b: Path,
    *,
    threads: int | None = None,
    simd: str | None = None,
    seed: int | None = None,
    html: Path | None = None,
    md: Path | None = None,
    csv: Path | None = None,
    progress: Progress | None = None,
    warning: Say | None = None,
    note: Say | None = None,
) -> reports.Diff:
    """Compare two models: structure, weights, zeros, sizes.

    Sizes are in bytes, times in milliseconds, shares from 0 to 1. ``espalier diff --help`` and docs/cli.md say more.

    Args:
        a: first model.
        b: second model.
        threads: number of threads (0: all processors).
        simd: instruction set of the kernels (the best available).
        seed: seed of all random numbers (0).
        html: write the report as one HTML page.
        md: write the report as Markdown.
        csv: write the tables as CSV.
        progress: called with what is done, how many steps of it are, and of how many; what it raises ends the work.
        warning: called with the text of each warning; None: warnings.warn.
        note: called with what the program prints with --verbose.

    Returns:
        The report, as ``--json`` writes it.

    Raises:
        UsageError: the options are wrong.
        FormatError: a file is missing, broken or does not fit the others, or cannot be written.
        UnsupportedError: something that this version does not have.
    """
    return cast("reports.Diff", line.report("diff", ["a", "b"], locals()))


def sweep(
    model: Path | None = None,
    *,
    output: Path | None = None,
    schedule: str | None = None,
    scope: float | str | None = None,
    diagonal: Literal["keep", "prune"] | None = None,
    op: Words | None = None,
    min_weights: int | None = None,
    depthwise: bool = False,
    keep_first_last: bool = False,
    force: Words | None = None,
    exclude: Words | None = None,
    layer: Words | None = None,
    recipe: Path | None = None,
    sequential: bool = False,
    no_refit: bool = False,
    profile: str | None = None,
    for_: str | None = None,
    index: Literal["grid", "first-element", "mask", "bitmap"] | None = None,
    keep_io_names: bool = False,
    input_shape: Pairs | None = None,
    memory: int | str | None = None,
    no_verify: bool = False,
    eval: Data | None = None,
    calib: Data | None = None,
    calib_memory: int | str | None = None,
    cache: Path | None = None,
    mask_tokens: str | None = None,
    inputs: Data | None = None,
    batch: int | None = None,
    state: Pairs | None = None,
    fill: Pairs | None = None,
    labels: Labels | None = None,
    metric: str | None = None,
    metric_cmd: str | None = None,
    method: Words | None = None,
    block: Words | None = None,
    sparsity: Words | None = None,
    values: Words | None = None,
    effort: Words | None = None,
    ending: Literal[".onnx", ".nnef.tgz", ".tgz", ".nnef.tar", ".tar"] | None = None,
    warmup: float | str | None = None,
    seconds: float | str | None = None,
    shard: str | None = None,
    merge: Words | None = None,
    pick: str | None = None,
    by: str | None = None,
    threads: int | None = None,
    simd: str | None = None,
    seed: int | None = None,
    html: Path | None = None,
    md: Path | None = None,
    csv: Path | None = None,
    progress: Progress | None = None,
    warning: Say | None = None,
    note: Say | None = None,
) -> reports.Sweep:
    """Prune over a grid of settings, measure each point and compare them.

    Sizes are in bytes, times in milliseconds, shares from 0 to 1. ``espalier sweep --help`` and docs/cli.md say more.

    Args:
        model: model to prune.
        output: folder to write.
        schedule: prune in N rounds along a cubic curve, each from the result of the round before.
        scope: how the sparsity is distributed: layer, global or sensitivity (sensitivity with obs, else layer).
        diagonal: keep or prune the diagonals of square recurrent matrices (keep).
        op: operators whose weights are pruned (all that can be).
        min_weights: leave smaller weights dense (1024).
        depthwise: prune depthwise convolutions too.
        keep_first_last: leave the first and the last layer dense.
        force: prune fixed transforms with these names too; repeatable.
        exclude: never change these weights; repeatable.
        layer: set block, sparsity, method, nm, gate-density or skip for the weights that match; repeatable.
        recipe: read options from a JSON file; the command line overrides them.
        sequential: choose and refit layer by layer, on the inputs that the layers pruned before produce.
        no_refit: leave the kept weights unchanged even with --calib.
        profile: how packed weights are written; NNEF: tract, portable, operator, opaque or dense (tract); ONNX: inline, function,
            operator, region, sparse-value, sparse-initializer or dense (inline).
        for_: who reads OUT next, in place of --profile: onnxruntime, openvino, deepsparse (ONNX), tract (NNEF) or espalier (the fewest
            bytes).
        index: how the positions of blocks are written: grid, pairs of numbers; bitmap, one bit for each block of the grid; first-element;
            or mask, a dense 0/1 mask (NNEF) (grid or bitmap, whichever takes fewer bytes).
        keep_io_names: refuse input and output names that the format cannot store instead of renaming them.
        input_shape: bind the free dimensions of an input, ? leaves one free; NAME:D,D,... is equivalent; repeatable.
        memory: memory of the runs that check the output: a model that needs more is compared weight by weight (half of what is available,
            for weights of up to 1 GiB).
        no_verify: skip running the models and reading OUT back.
        eval: inputs on which the metric is measured.
        calib: calibration inputs without labels, or a file written by calibrate: used by wanda, sparsegpt and obs and to refit the kept
            weights.
        calib_memory: memory for the sums of calibration; larger sums are collected in several passes (2 GiB for a layer, 512 MiB for a
            pass of several).
        cache: folder that keeps statistics, scores and the sensitivity scan: a run of the same model and calibration inputs takes them
            from there.
        mask_tokens: input that is 0 where a token is padding: statistics leave these tokens out.
        inputs: inputs on which the result is verified (those of --eval, --calib, or random ones).
        batch: samples per feed if the first axis is free (1).
        state: start input IN at zero and feed it output OUT of the previous sample; repeatable.
        fill: constant for an input that DATA does not contain; repeatable.
        labels: labels or reference values in a .npy file, samples along the first axis.
        metric: top1, top5, cosine, snr, mse, auc (top1).
        metric_cmd: command that prints one number for the model file {model}.
        method: methods (obs with --calib, else l2).
        block: block shapes, outputs x inputs (16x1).
        sparsity: shares of weights to prune (0.5,0.7,0.8,0.9,0.95).
        values: types of the stored kept values: f32, f16, bf16, i8 (unchanged).
        effort: efforts: fast, default, best (default).
        ending: extension of the files, which selects their format (that of MODEL).
        warmup: seconds of warm-up per point (0.2).
        seconds: seconds of measurement per point (1).
        shard: make only part I of N of the points.
        merge: join the folders of shards instead of making points.
        pick: copy the smallest point that loses at most D of the metric, or P percent of it, to DIR/picked.
        by: pick by size or by speed (size).
        threads: number of threads (0: all processors).
        simd: instruction set of the kernels (the best available).
        seed: seed of all random numbers (0).
        html: write the report as one HTML page.
        md: write the report as Markdown.
        csv: write the tables as CSV.
        progress: called with what is done, how many steps of it are, and of how many; what it raises ends the work.
        warning: called with the text of each warning; None: warnings.warn.
        note: called with what the program prints with --verbose.

    Returns:
        The report, as ``--json`` writes it.

    Raises:
        UsageError: the options are wrong.
        FormatError: a file is missing, broken or does not fit the others, or cannot be written.
        UnsupportedError: something that this version does not have.
    """
    return cast("reports.Sweep", line.report("sweep", ["model"], locals()))


def bench(
    model: Words,
    *,
    warmup: float | str | None = None,
    seconds: float | str | None = None,
    interval: float | None = None,
    machine: Path | None = None,
    no_pass: Words | None = None,
    inputs: Data | None = None,
    batch: int | None = None,
    state: Pairs | None = None,
    fill: Pairs | None = None,
    block: Words | None = None,
    sparsity: Words | None = None,
    values: Words | None = None,
    threads: int | None = None,
    simd: str | None = None,
    seed: int | None = None,
    html: Path | None = None,
    md: Path | None = None,
    csv: Path | None = None,
    progress: Progress | None = None,
    warning: Say | None = None,
    note: Say | None = None,
) -> reports.Bench:
    """Measure models side by side, or the kernels alone.

    Sizes are in bytes, times in milliseconds, shares from 0 to 1. ``espalier bench --help`` and docs/cli.md say more.

    Args:
        model: models to measure, interleaved.
        warmup: seconds of warm-up per model (2).
        seconds: seconds of measurement per model (10), or per row of --kernels (0.2).
        interval: start one run every MS milliseconds, with cold caches.
        machine: measurement of this machine by `bench --kernels --json F`: packed weights run packed or dense, whichever it says is
            faster (default: a built-in table).
        no_pass: disable this graph pass; repeatable: recurrent_loops, loop_invariants, fold_constants, gelu, silu, hard_swish,
            layer_norm, attention, conv_affine, matmul_bias, activation, dead_nodes.
        inputs: inputs to run on (the first sample; random inputs if not given).
        batch: samples per feed if the first axis is free (1).
        state: start input IN at zero and feed it output OUT of the previous sample; repeatable.
        fill: constant for an input that DATA does not contain; repeatable.
        block: block shapes (all that have a kernel).
        sparsity: shares of zero blocks (0.5,0.8,0.9).
        values: value types: f32, f16, bf16, i8 (f32).
        threads: number of threads (0: all processors).
        simd: instruction set of the kernels (the best available).
        seed: seed of all random numbers (0).
        html: write the report as one HTML page.
        md: write the report as Markdown.
        csv: write the tables as CSV.
        progress: called with what is done, how many steps of it are, and of how many; what it raises ends the work.
        warning: called with the text of each warning; None: warnings.warn.
        note: called with what the program prints with --verbose.

    Returns:
        The report, as ``--json`` writes it.

    Raises:
        UsageError: the options are wrong.
        FormatError: a file is missing, broken or does not fit the others, or cannot be written.
        UnsupportedError: something that this version does not have.
    """
    return cast("reports.Bench", line.report("bench", ["model"], locals()))
