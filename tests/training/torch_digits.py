#!/usr/bin/env python3
"""torch: a GRU on scikit-learn's digits, whose recurrent matrix is pruned to 90 % in 16x1 blocks while it is trained, diagonals kept, along the cubic
schedule; then a lottery ticket. Expected: top-1 of at least .96, zeros that are exact through torch's exporter, a packed file that decodes to every bit of
it, and the same predictions from it; masks by torch's names prune the dense network's file to the same weights.

Not part of tests/run: torch's wheel pulls 3 GB of GPU libraries. Where torch is importable next to scikit-learn and the wheel of espalier: torch_digits.py
"""
import os
import sys
import tempfile

import numpy as np
import torch
from page import run_block
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import espalier
from espalier import layouts, masks
from espalier.torch import Prune, rewound

LEAST, UNITS, BATCH, EPOCHS = 0.96, 128, 32, 40
NAME = "gru.weight_hh_l0"
NEVER = masks.Schedule(1 << 60, (1 << 60) + 1)


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.out = torch.nn.GRU(8, UNITS), torch.nn.Linear(UNITS, 10)

    def forward(self, x):
        """[8 steps, batch, 8]"""
        return self.out(self.gru(x)[1][0])


def trained(model, x, y, optimizer):
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, -(-len(x) // BATCH) * EPOCHS)
    random = np.random.default_rng(2)
    for _ in range(EPOCHS):
        order = random.permutation(len(x))
        for start in range(0, len(x), BATCH):
            batch = order[start : start + BATCH]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch].transpose(0, 1)), y[batch]).backward()
            optimizer.step()
            scheduler.step()


def arrays(model):
    return {name: value.detach().numpy() for name, value in model.state_dict().items()}


def top1(scores, labels):
    return float((np.asarray(scores).argmax(1) == labels).mean())


def check_export(model, held, labels, expected, found, folder):
    dense, packed = os.path.join(folder, "dense.onnx"), os.path.join(folder, "packed.onnx")
    torch.onnx.export(model, torch.from_numpy(held).transpose(0, 1), dense, opset_version=14, input_names=["x"])
    rows = [layer for layer in espalier.convert(dense, packed, warning=print)["layers"] if layer["bytes_after"] < layer["bytes_before"]]
    print("packed:", [(layer["weight"], layer["block"], layer["bytes_before"], layer["bytes_after"]) for layer in rows])
    assert rows, "nothing was packed"
    assert espalier.verify(dense, packed)["ok"]
    feeds = {"x": np.ascontiguousarray(held.transpose(1, 0, 2))}
    scores = [top1(espalier.Session(path).run(None, feeds)[0], labels) for path in (dense, packed)]
    print(f"top-1 of the exported file {scores[0]:.4f}, packed {scores[1]:.4f}")
    assert scores[0] == scores[1] == expected
    in_file = layouts.masks_for(dense, arrays(model), found)
    (name,) = in_file
    weight = np.where(in_file[name], 1, 0).reshape(3, UNITS, UNITS)
    torch_order = found[NAME].reshape(3, UNITS, UNITS)
    assert (weight == torch_order[[1, 0, 2]]).all()
    espalier.apply_masks(dense, in_file, os.path.join(folder, "masked.onnx"))
    assert espalier.verify(packed, os.path.join(folder, "masked.onnx"))["ok"]
    print(f"mask {NAME} is {name} of the file, gates z, r, h")


def main():
    torch.manual_seed(1)
    digits = load_digits()
    x, held, y, labels = train_test_split((digits.images / 16).astype(np.float32), digits.target, test_size=360, random_state=0, stratify=digits.target)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    model = Network()
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    names = run_block("from espalier.torch import", {"model": model, "torch": torch})
    prune = names["prune"]
    trained(model, x, y, names["optimizer"])
    mask = prune.masks[NAME]
    with torch.no_grad():
        reached = top1(model(torch.from_numpy(held).transpose(0, 1)), labels)
    print(f"torch {torch.__version__}: {masks.sparsity(mask):.4f} of {NAME} are zeros, top-1 {reached:.4f}")
    assert reached >= LEAST
    assert masks.sparsity(mask) > 0.88
    assert (arrays(model)[NAME][~mask].view(np.uint32) == 0).all()
    with tempfile.TemporaryDirectory() as folder:
        check_export(model, held, labels, reached, prune.masks, folder)

    rewound(model, initial, prune.masks)
    assert (arrays(model)[NAME] == np.where(mask, initial[NAME].numpy(), 0)).all()
    trained(model, x, y, Prune(model, {}, NEVER, prune.masks).attach(torch.optim.Adam(model.parameters(), 4e-3)))
    with torch.no_grad():
        again = top1(model(torch.from_numpy(held).transpose(0, 1)), labels)
    print(f"lottery ticket: top-1 {again:.4f}")
    assert again >= LEAST
    assert (arrays(model)[NAME][~mask] == 0).all()
    return 0


if __name__ == "__main__":
    sys.exit(main())
