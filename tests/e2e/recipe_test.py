#!/usr/bin/env python3
"""Recipes, masks and rewinding, as users' scripts do it, on the models of ../shared/models.    recipe_test.py ESPALIER"""
import json
import os
import sys
import tempfile

import numpy as np
import onnx

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import peer  # noqa: E402


def report(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def recipe_repeats_the_command_line(run, model, folder):
    a, b, recipe = (os.path.join(folder, n) for n in ("a.onnx", "b.onnx", "r.json"))
    run("prune", model, a, "--block", "8x4", "--sparsity", "0.7", "--layer", "W1:sparsity=0.2", "--exclude", "^W2$", "--save-recipe", recipe)
    run("prune", model, b, "--recipe", recipe)
    assert open(a, "rb").read() == open(b, "rb").read(), "the saved recipe gives other bytes"
    run("prune", model, b, "--recipe", recipe, "--sparsity", "0.9", "--json", os.path.join(folder, "b.json"))
    assert report(os.path.join(folder, "b.json"))["options"]["sparsity"] == 0.9, "the line does not win over the recipe"


def a_recipe_is_a_run(run, model, folder):
    a, b, recipe = (os.path.join(folder, n) for n in ("a.onnx", "b.onnx", "r.json"))
    data = os.path.join(os.path.dirname(model), "calib")
    run("prune", model, a, "--calib", data, "--method", "sparsegpt", "--sparsity", "0.6", "--save-recipe", recipe)
    assert report(recipe)["calib"] == data, report(recipe)
    written = report(recipe)
    del written["no-verify"]  # the line of this test has it, too
    with open(recipe, "w", encoding="utf-8") as file:
        json.dump(written, file)
    run("prune", model, b, "--recipe", recipe)
    assert open(a, "rb").read() == open(b, "rb").read(), "the recipe with its data gives other bytes"
    size = os.path.getsize(a)
    with open(recipe, "w", encoding="utf-8") as file:
        json.dump({"calib": data, "method": "sparsegpt", "target-size": f"{size / 1000}kB", "layer": ["^no such weight$:skip"]}, file)
    run("prune", model, b, "--recipe", recipe, expect=1)  # a pattern that matches nothing
    with open(recipe, "w", encoding="utf-8") as file:
        json.dump({"calib": data, "method": "sparsegpt", "target-size": f"{size / 1000}kB", "min-weights": 1024}, file)
    run("prune", model, b, "--recipe", recipe)
    assert os.path.getsize(b) <= size, (os.path.getsize(b), size)
    masks = os.path.join(folder, "recipe_masks.npz")
    with open(recipe, "w", encoding="utf-8") as file:
        json.dump({"schedule": "cubic:start=0,steps=4", "at-step": 4, "sparsity": 0.6, "calib": data, "method": "sparsegpt", "threads": 1,
                   "memory": "1 GiB", "calib-memory": "3MiB", "mask-out": masks}, file)
    run("prune", model, b, "--recipe", recipe)
    assert open(a, "rb").read() == open(b, "rb").read() and os.path.getsize(masks) > 0
    for key, value in (("memory", "much"), ("calib-memory", -1), ("threads", "2"), ("at-step", 1.5), ("calib", 3), ("curve", [2]), ("batch", 0), ("fill", "x"), ("no-verify", 1)):
        with open(recipe, "w", encoding="utf-8") as file:
            json.dump({key: value}, file)
        run("prune", model, b, "--recipe", recipe, expect=1)
    run("prune", model, b, "--block", "auto", "--sparsity", "0.7", "--save-recipe", recipe)
    found = report(recipe)["block"]
    run("prune", model, a, "--recipe", recipe)
    assert found != "auto" and open(a, "rb").read() == open(b, "rb").read(), found


def masks_in(path):
    """The masks alone, without the arrays that say which of their axes counts outputs."""
    arrays = dict(np.load(path))
    masks = {name: array for name, array in arrays.items() if not name.startswith("outputs_axis/")}
    assert {f"outputs_axis/{name}" for name in masks} >= arrays.keys() - masks.keys(), arrays.keys()
    return masks


def masks_go_out_and_in(run, model, folder):
    a, b, masks = (os.path.join(folder, n) for n in ("a.onnx", "b.onnx", "m.npz"))
    run("prune", model, a, "--sparsity", "0.6", "--mask-out", masks, "--profile", "dense")
    arrays = masks_in(masks)
    before, after = peer.weights(onnx.load(model)), peer.weights(onnx.load(a))
    assert arrays, "no mask was written"
    for name, mask in arrays.items():
        assert mask.dtype == bool and mask.shape == before[name][0].shape, f"{name}: mask is {mask.dtype} {mask.shape}"
        assert np.array_equal(np.where(mask, before[name][0], 0), after[name][0]), f"{name}: the file is not what the mask says"
    run("prune", model, b, "--mask-in", masks, "--profile", "dense")
    assert open(a, "rb").read() == open(b, "rb").read(), "the same masks give other bytes"


def masks_rewind_to_another_checkpoint(run, model, folder):
    first = os.path.join(folder, "first.onnx")
    early = onnx.load(model)
    for tensor in early.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array((values + np.float32(0.25)).astype(np.float32), tensor.name))
    onnx.save(early, first)
    out, masks = os.path.join(folder, "ticket.onnx"), os.path.join(folder, "m.npz")
    run("prune", model, out, "--sparsity", "0.6", "--rewind", first, "--mask-out", masks, "--profile", "dense")
    rewound, start = peer.weights(onnx.load(out)), peer.weights(onnx.load(first))
    for name, mask in masks_in(masks).items():
        assert np.array_equal(np.where(mask, start[name][0], 0), rewound[name][0]), f"{name}: not the early weights under the late mask"


def first_and_last_can_be_kept(run, model, folder):
    out, path = os.path.join(folder, "a.onnx"), os.path.join(folder, "a.json")
    run("prune", model, out, "--keep-first-last", "--json", path)
    layers = report(path)["layers"]
    assert layers[0]["left_out"] and layers[-1]["left_out"] and not layers[1]["left_out"], "first and last were not left alone"


CASES = [(recipe_repeats_the_command_line, "bandgru_denoise"), (a_recipe_is_a_run, "bandgru_denoise"), (masks_go_out_and_in, "mlp_digits"), (masks_go_out_and_in, "bandgru_denoise"),
         (masks_go_out_and_in, "cnn_digits"), (masks_rewind_to_another_checkpoint, "mlp_digits"), (first_and_last_can_be_kept, "mlp_digits")]


def main(program):
    models = peer.need_shared("models")
    failed = 0
    for case, name in CASES:
        def run(command, *arguments, expect=0):
            quick = ["-q"] if "auto" in arguments else ["--no-verify", "-q"]  # auto runs the model
            peer.espalier(program, command, *arguments, *(quick if command == "prune" else []), expect=expect)
        with tempfile.TemporaryDirectory() as folder:
            try:
                case(run, os.path.join(models, name, "model.onnx"), folder)
                print(f"ok   {case.__name__} ({name})")
            except (AssertionError, RuntimeError, KeyError) as error:
                failed += 1
                print(f"FAIL {case.__name__} ({name}): {type(error).__name__}: {error}")
    print(f"{len(CASES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
