"""Arrays to packed blocks and back."""
import dataclasses

import espalier
import numpy as np
import pytest


def sparse(random, *shape):
    return np.where(random.random(shape) < 0.2, random.standard_normal(shape), 0).astype(np.float32)


@pytest.mark.parametrize("block", ["1x1", "16x1", "8x4", "5x3"])
@pytest.mark.parametrize("shape", [(64, 64), (33, 17), (3, 48, 48), (2, 7, 9)])
def test_decode_gives_back_every_bit(block, shape, random):
    weight = sparse(random, *shape)
    for diagonal in (False, True) if shape[-1] == shape[-2] else (False,):
        packed = espalier.pack(weight, block, diagonal=diagonal)
        assert packed.shape == shape
        np.testing.assert_array_equal(espalier.decode(packed).view(np.uint32), weight.view(np.uint32))
        assert (packed.diagonal.size != 0) == diagonal


def test_blocks_are_where_the_index_says(random):
    weight = np.zeros((32, 8), np.float32)
    weight[16:32, 3] = random.standard_normal(16)
    weight[4, 6] = 2
    packed = espalier.pack(weight, "16x1")
    assert packed.index.tolist() == [[0, 6], [1, 3]]
    np.testing.assert_array_equal(packed.values[1, :, 0], weight[16:, 3])
    assert packed.nbytes == 2 * 16 * 4 + 2 * 4


@pytest.mark.parametrize(("values", "bound"), [("f16", 2**-11), ("bf16", 2**-8), ("i8", 0.5 / 127)])
def test_narrow_values(values, bound, random):
    weight = sparse(random, 64, 64)
    packed = espalier.pack(weight, "16x1", values=values)
    assert packed.values.dtype == {"f16": np.float16, "bf16": np.uint16, "i8": np.int8}[values]
    found = espalier.decode(packed)
    most = np.abs(weight).max(1, keepdims=True)
    assert (np.abs(found - weight) <= bound * most + 1e-12).all()
    assert (found[weight == 0] == 0).all() or values == "i8"


def test_large_weights_are_read_where_they_lie(random):
    weight = np.zeros((4096, 4096), np.float32)
    weight[::64, ::64] = 1
    np.testing.assert_array_equal(espalier.decode(espalier.pack(weight, "4x4")), weight)


def test_wrong_arrays_are_errors(random):
    weight = sparse(random, 32, 16)
    for call, text in [
        (lambda: espalier.pack(weight.astype(np.float64)), "weight: float64"),
        (lambda: espalier.pack(weight[0]), "weight: float32"),
        (lambda: espalier.pack(weight, "0x1"), "block"),
        (lambda: espalier.pack(weight, diagonal=True), "square"),
        (lambda: espalier.pack(weight, values="f8"), "values are f8"),
    ]:
        with pytest.raises(espalier.UsageError, match=text):
            call()
    with pytest.raises(espalier.FormatError):
        espalier.pack(np.full((16, 16), 1e30, np.float32), values="f16")
    packed = espalier.pack(weight, "16x1")
    broken = packed.index.copy()
    broken[0] = [99, 0]
    for changes in ({"index": broken}, {"index": packed.index[::-1]}, {"values": packed.values[:-1]}, {"shape": (16, 16)},
                    {"values": packed.values.astype(np.float16)}, {"scale": np.ones(3, np.float32)}, {"diagonal": np.ones(3, np.float32)}):
        with pytest.raises(espalier.FormatError):
            espalier.decode(dataclasses.replace(packed, **changes))
