#!/usr/bin/env python3
"""Models that the exporters write here and now: scikit-learn through skl2onnx, Keras 3 and flax on JAX through jax2onnx, and torch where it can be imported.
Each goes through the columns of tests/peers/exporters_test.py. Prints the table of docs/exporters.md, "Written by the test itself", and what it ran with.

  fresh_models.py ESPALIER [MODEL...]

tests/run --exporters runs it in the venv of scripts/setup --exporters.
"""
import importlib.metadata
import os
import sys
import tempfile
import warnings

os.environ["KERAS_BACKEND"] = "jax"
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
from onnx import numpy_helper  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), os.path.join(HERE, "../peers")]
import exporters_test  # noqa: E402
import peer  # noqa: E402

RANDOM = np.random.default_rng(7)
PACKAGES = ["skl2onnx", "scikit-learn", "keras", "jax", "jax2onnx", "flax", "torch", "onnx", "onnxruntime", "tract"]


def floats(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def sparse_blocks(shape, share=0.8):
    """A mask of 16x1 blocks of a kernel [inputs, outputs], as training with masks leaves it."""
    return np.repeat(RANDOM.random((shape[0], shape[1] // 16)) > share, 16, axis=1).astype(np.float32)


def sklearn_model(path, estimator, targets):
    from skl2onnx import to_onnx
    x = floats(64, 32)
    with open(path, "wb") as file:
        file.write(to_onnx(estimator.fit(x, targets(x)), x[:1]).SerializeToString())
    return [x[:5]]


def sklearn_regressor(path):
    from sklearn.neural_network import MLPRegressor
    return sklearn_model(path, MLPRegressor(hidden_layer_sizes=(64, 48), max_iter=20, random_state=1), lambda x: x[:, :3])


def sklearn_pca_regressor(path):
    from sklearn.decomposition import PCA
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    return sklearn_model(path, make_pipeline(PCA(24, random_state=1), MLPRegressor(hidden_layer_sizes=(64,), activation="tanh", max_iter=20, random_state=1)), lambda x: x[:, :2])


def sklearn_pls(path):
    from sklearn.cross_decomposition import PLSRegression
    return sklearn_model(path, PLSRegression(8), lambda x: x[:, :16])


def keras_network(path, layers, shape, masked=False):
    import keras
    model = keras.Sequential([keras.Input(shape, batch_size=1, name="x"), *layers])
    for variable in model.trainable_variables:
        values = floats(*variable.shape) * 0.2
        if masked and variable.path.endswith("kernel") and len(variable.shape) == 2 and variable.shape[1] % 16 == 0:
            values = values * sparse_blocks(variable.shape)
        variable.assign(values)
    return write_jax(path, model, [floats(1, *shape)])


def write_jax(path, function, feed):
    import jax2onnx
    jax2onnx.to_onnx(function, [x.shape for x in feed], return_mode="file", output_path=path)
    return feed


def keras_dense(path):
    from keras import layers
    return keras_network(path, [layers.Dense(96, activation="relu"), layers.Dense(64, activation="gelu"), layers.Dense(10)], (48,))


def keras_dense_pruned(path):
    from keras import layers
    return keras_network(path, [layers.Dense(256, activation="relu"), layers.Dense(128, activation="tanh"), layers.Dense(10)], (128,), masked=True)


def keras_conv(path):
    from keras import layers
    return keras_network(path, [layers.Conv2D(32, 3, padding="same", activation="relu"), layers.BatchNormalization(), layers.Conv2D(32, 3, strides=2),
                                layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")], (16, 16, 3))


def keras_gru(path):
    from keras import layers
    return keras_network(path, [layers.GRU(48, return_sequences=True), layers.Dense(10)], (9, 16))


def keras_lstm(path):
    from keras import layers
    return keras_network(path, [layers.LSTM(48), layers.Dense(10)], (9, 16))


def keras_attention(path):
    import keras
    x = keras.Input((12, 32), batch_size=1, name="x")
    y = keras.layers.LayerNormalization()(x + keras.layers.MultiHeadAttention(4, 8)(x, x))
    return write_jax(path, keras.Model(x, keras.layers.Dense(32)(keras.layers.Dense(64, activation="silu")(y))), [floats(1, 12, 32)])


def flax_mlp(path):
    from flax import nnx
    rngs = nnx.Rngs(0)

    class Network(nnx.Module):
        def __init__(self):
            self.a, self.norm, self.b = nnx.Linear(48, 64, rngs=rngs), nnx.LayerNorm(64, rngs=rngs), nnx.Linear(64, 32, rngs=rngs)

        def __call__(self, x):
            return self.b(nnx.relu(self.norm(self.a(x))))

    return write_jax(path, Network(), [floats(2, 48)])


def torch_gru(path):
    import torch

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.out = torch.nn.GRU(32, 64, batch_first=True), torch.nn.Linear(64, 10)

        def forward(self, x):
            return self.out(self.gru(x)[0])

    x = floats(1, 7, 32)
    torch.onnx.export(Network().eval(), (torch.from_numpy(x),), path, input_names=["x"], output_names=["y"])
    return [x]


def has_torch():
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


MODELS = {"sklearn_mlpregressor": sklearn_regressor, "sklearn_pca_mlp": sklearn_pca_regressor, "sklearn_pls": sklearn_pls, "keras_jax_dense": keras_dense,
          "keras_jax_dense_pruned": keras_dense_pruned, "keras_jax_conv": keras_conv, "keras_jax_gru": keras_gru, "keras_jax_lstm": keras_lstm,
          "keras_jax_attention": keras_attention, "flax_mlp": flax_mlp, "torch_gru": torch_gru}


def write_data(path, feed):
    """Inputs, and what onnxruntime computes of them, next to the model."""
    session = peer.session(path)
    folder = os.path.join(os.path.dirname(path), "test_data_set_0")
    os.makedirs(folder)
    outputs = session.run(None, {i.name: x for i, x in zip(session.get_inputs(), feed, strict=True)})
    for kind, arrays, infos in (("input", feed, session.get_inputs()), ("output", outputs, session.get_outputs())):
        for i, (array, info) in enumerate(zip(arrays, infos, strict=True)):
            with open(os.path.join(folder, f"{kind}_{i}.pb"), "wb") as file:
                file.write(numpy_helper.from_array(np.ascontiguousarray(array), info.name).SerializeToString())


def versions():
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} absent")
    return ", ".join(found)


def main(program, names):
    chosen = names or [name for name in MODELS if name != "torch_gru" or has_torch()]
    rows, faults = [], []
    with tempfile.TemporaryDirectory() as root:
        for name in chosen:
            path = os.path.join(root, name, "model.onnx")
            os.makedirs(os.path.dirname(path))
            write_data(path, MODELS[name](path))
            row, found = exporters_test.row_of(program, name, root)
            print("\n".join([row, *(f"FAIL {fault}" for fault in found)]), flush=True)
            rows.append(row)
            faults += found
    print(versions())
    return peer.verdict(len(chosen) * len(exporters_test.COLUMNS), len(faults))


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1]), sys.argv[2:]))
