"""The models of ../shared/models as NNEF: how each is written, and what onnxruntime computes from the same weights."""
import os

import peer

# Inputs whose extents stock tract must know: strides and windows over them.
SHAPES = {"ppocrv4_det": "x:?,3,96,160", "ppocrv4_rec": "x:?,3,48,?"}
# How a model is pruned where blind pruning leaves nothing to compare: the detector gives 0 everywhere; magika cancels so many digits (channels whose
# variance is rounding alone) that onnxruntime itself is 9e-5 from what f64 gives, and tract 1.3e-4.
PRUNED = {"ppocrv4_det": ["--calib", "{}/test_data_set_0"], "magika_v3_3": ["--keep-first-last"]}


def run_onnx(path, feeds):
    session = peer.session(path)
    names = [i.name for i in session.get_inputs()]
    return [session.run(None, dict(zip(names, feed.values()))) for feed in feeds]


def worst(found, expected):
    return max(peer.relative_difference(f, e) for f, e in zip(found, expected, strict=True))


def feeds_of(model, path):
    """Those of the model's stored inputs that fit the shape which it is written with."""
    session = peer.session(path)
    count = sum(os.path.isdir(os.path.join(os.path.dirname(path), f"test_data_set_{i}")) for i in range(9))
    feeds = [peer.test_inputs(path, session, i) for i in range(count)]
    if model not in SHAPES:
        return feeds
    name, extents = SHAPES[model].rsplit(":", 1)
    fits = lambda feed: all(e in ("?", str(d)) for e, d in zip(extents.split(","), feed[name].shape))  # noqa: E731
    return [feed for feed in feeds if fits(feed)]


def write(program, model, command, options, nnef_options, target, dense):
    """Writes the model as `target` (NNEF) and `dense` (ONNX) by the same command; gives inputs and what onnxruntime makes of them."""
    source = peer.need_shared("models", model, "model.onnx")
    if command == "prune":
        options = [*options, "--method", "l2"]
        options += [option.format(os.path.dirname(source)) for option in PRUNED.get(model, [])]
    shape = ["--shape", SHAPES[model]] if model in SHAPES else []
    peer.espalier(program, command, source, target, "-q", *options, *nnef_options, *shape)
    peer.espalier(program, command, source, dense, "-q", *options, "--profile", "dense")
    feeds = feeds_of(model, source)
    return feeds, run_onnx(dense, feeds)
