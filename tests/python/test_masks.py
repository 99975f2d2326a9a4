"""The masks of training loops, against their definitions and against `espalier prune`."""
import espalier
import numpy as np
import pytest
from espalier import masks


def test_folds():
    keras = np.arange(5 * 12).reshape(5, 12)  # [inputs, 3 gates of 4 outputs]
    parts = masks.Fold(3, True).fold(keras)
    assert parts.shape == (3, 4, 5)
    assert parts[1, 2, 3] == keras[3, 4 + 2]
    np.testing.assert_array_equal(masks.Fold(3, True).unfold(parts), keras)
    torch = keras.T.copy()
    np.testing.assert_array_equal(masks.Fold(3).fold(torch), parts)
    for array, fold in ((np.zeros(3), masks.Fold()), (np.zeros((4, 3)), masks.Fold(3)), (np.zeros((2, 3, 4)), masks.Fold())):
        with pytest.raises(espalier.UsageError):
            fold.fold(array)


@pytest.mark.parametrize("block", ["1x1", "16x1", "4x8", "5x3"])
def test_blocks_are_the_strongest(block, random):
    parts = random.standard_normal((3, 33, 17))
    rows, cols = masks.block_shape(block)
    mask = masks.block_mask(parts, block, 0.3)
    sums, kept = [], []
    for p in range(3):
        for r in range(0, 33, rows):
            for c in range(0, 17, cols):
                inside = mask[p, r : r + rows, c : c + cols]
                assert inside.all() or not inside.any()
                sums.append(np.square(parts[p, r : r + rows, c : c + cols]).sum())
                kept.append(inside.all())
    order = np.argsort(sums)[::-1]
    assert sum(kept) == round(0.3 * len(sums))
    assert np.array(kept)[order[: sum(kept)]].all()


def test_the_program_chooses_the_same(denoise, tmp_path):
    """--method l2 --scope layer, on matrices with inputs first (MatMul), and on the gates of a GRU with the diagonal kept."""
    import onnx
    from onnx import numpy_helper
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load(denoise).graph.initializer}
    espalier.prune(denoise, tmp_path / "o.onnx", sparsity=0.7, method="l2", scope="layer", no_verify=True, mask_out=tmp_path / "m.npz", warning=lambda _: None)
    theirs = espalier.read_masks(tmp_path / "m.npz")
    for name, fold, diagonal in (("wi", masks.Fold(1, True), False), ("W1", masks.Fold(3), False), ("R1", masks.Fold(3), True)):
        array = weights[name].reshape(weights[name].shape[-2:])
        ours = fold.unfold(masks.block_mask(fold.fold(array), "16x1", 0.3, diagonal=diagonal))
        found = theirs[name].reshape(array.shape)
        assert (ours != found).mean() < 0.002, name


def test_diagonal_and_densities(random):
    parts = random.standard_normal((3, 64, 64))
    mask = masks.block_mask(parts, "16x1", masks.LPCNET_DENSITIES, diagonal=True)
    off = ~np.eye(64, dtype=bool)
    for part, density in zip(mask, masks.LPCNET_DENSITIES, strict=True):
        assert part.diagonal().all()
        assert part[off].mean() == pytest.approx(density, abs=0.02)
    # A block that is strong by its diagonal alone is not kept for it.
    strong = np.full((1, 16, 16), 0.1)
    strong[0, 0, 0], strong[0, 5, 9] = 100, 1
    kept = masks.block_mask(strong, "16x1", 1 / 16, diagonal=True)[0]
    assert kept[:, 9].all()
    assert kept[:, 0].sum() == 1
    for call in (lambda: masks.block_mask(parts[:, :32], "16x1", 0.5, diagonal=True), lambda: masks.block_mask(parts, "16x1", (0.1,)),
                 lambda: masks.block_mask(parts, "16x1", 1.1), lambda: masks.block_mask(parts, "16", 0.5)):
        with pytest.raises(espalier.UsageError):
            call()


def test_n_of_m(random):
    parts = random.standard_normal((2, 5, 19))
    mask = masks.nm_mask(parts, 2, 4)
    groups = mask[:, :, :16].reshape(2, 5, 4, 4)
    assert (groups.sum(3) == 2).all()
    values = np.abs(parts[:, :, :16]).reshape(groups.shape)
    assert (np.where(groups, values, np.inf).min(3) >= np.where(groups, 0, values).max(3)).all()
    assert (mask[:, :, 16:].sum(2) == 2).all()
    with pytest.raises(espalier.UsageError):
        masks.nm_mask(parts, 5, 4)


def test_n_of_m_of_a_convolution_counts_inputs_of_one_position(random):
    for fold, shape in ((masks.Fold(window=(3, 3), groups=2), (8, 12, 3, 3)), (masks.Fold(transposed=True, window=(3, 3)), (3, 3, 12, 8))):
        weight = random.standard_normal(shape)
        parts = fold.fold(weight)
        assert parts.shape == (fold.groups, 8 // fold.groups, 108)
        np.testing.assert_array_equal(fold.unfold(parts), weight)
        mask = fold.unfold(masks.Rule(nm=(2, 4)).mask(parts, 0.5, 0.5, positions=fold.positions))
        kept = np.moveaxis(mask, (-1, -2), (0, 1)) if fold.transposed else mask
        assert (kept.reshape(8, 3, 4, 9).sum(2) == 2).all()
    for wrong in (lambda: masks.Fold(window=(3, 3)).fold(np.zeros((8, 4))), lambda: masks.Fold(window=(3, 3)).fold(np.zeros((8, 4, 3, 1))),
                  lambda: masks.nm_mask(np.zeros((1, 2, 8)), 2, 4, positions=3)):
        with pytest.raises(espalier.UsageError):
            wrong()


def test_the_cubic_schedule():
    schedule = masks.Schedule(begin=10, stop=110, start=0.1, end=0.9, every=20)
    assert schedule.sparsity(9) == 0
    assert schedule.sparsity(10) == pytest.approx(0.1)
    assert schedule.sparsity(60) == pytest.approx(0.9 - 0.8 * 0.5**3)
    assert schedule.sparsity(110) == schedule.sparsity(5000) == pytest.approx(0.9)
    assert [step for step in range(200) if schedule.is_due(step)] == [10, 30, 50, 70, 90, 110]
    for wrong in ({"begin": 5, "stop": 5}, {"begin": 0, "stop": 5, "end": 1.5}, {"begin": 0, "stop": 5, "every": 0}):
        with pytest.raises(espalier.UsageError):
            masks.Schedule(**wrong)


def test_a_pruner_follows_its_schedule(random):
    weights = {"r": random.standard_normal((64, 192)).astype(np.float32), "w": random.standard_normal((32, 64)).astype(np.float32)}
    pruner = masks.Pruner({"r": masks.Rule(diagonal=True, densities=masks.LPCNET_DENSITIES), "w": masks.Rule(block="8x4")},
                          {"r": masks.Fold(3, True), "w": masks.Fold(1, True)}, masks.Schedule(0, 10, end=0.9))
    seen = []
    for step in range(20):
        if pruner.update(step, weights):
            seen.append((masks.sparsity(pruner.masks["r"]), masks.sparsity(pruner.masks["w"])))
            weights = {name: masks.masked(array, pruner.masks[name]) for name, array in weights.items()}
    assert len(seen) == 11
    assert seen == sorted(seen)
    assert seen[-1][1] == pytest.approx(0.9, abs=0.03)
    assert seen[-1][0] == pytest.approx(0.9 - 1 / 64 * 0.9, abs=0.01)
    # Once zero, never kept again, as the strongest blocks are not zero.
    assert (weights["w"] != 0).mean() == pytest.approx(0.1, abs=0.03)
    fixed = pruner.fixed()
    assert not any(fixed.update(step, weights) for step in range(100))


def test_zeros_are_exact_and_tickets_are_rewound(random):
    initial = {"w": -np.abs(random.standard_normal((32, 32))).astype(np.float32), "b": np.ones(3, np.float32)}
    mask = masks.block_mask(initial["w"][None], "4x4", 0.25)[0]
    ticket = masks.rewind(initial, {"w": mask})
    assert (ticket["w"][~mask].view(np.uint32) == 0).all()  # no -0
    np.testing.assert_array_equal(ticket["w"][mask], initial["w"][mask])
    assert ticket["b"] is initial["b"]
    assert ticket["w"].dtype == np.float32
