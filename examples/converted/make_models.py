# mypy: ignore-errors
"""The small models of this folder's specs, each trained in a few seconds with its framework.

    .venv/bin/python examples/converted/make_models.py

The frameworks come with the environments that the generator makes for its converters (docs/converters.md); this file runs itself
there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MODELS = Path(__file__).resolve().parent / "models"


def pictures(count: int):
    """Noise with one bright quarter, [count, 16, 16, 1] FP32, and which quarter that is."""
    import numpy as np

    random = np.random.default_rng(0)
    found, quarter = random.random((count, 16, 16, 1), dtype=np.float32) / 2, random.integers(0, 4, count)
    for picture, place in zip(found, quarter, strict=True):
        picture[8 * (place // 2) :, 8 * (place % 2) :][:8, :8] += 0.5
    return found, quarter


def tensorflow() -> None:
    """A convolutional network of Keras, as a .keras file."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((16, 16, 1), name="image")
    hidden = layers.Flatten()(layers.AveragePooling2D(4)(layers.Conv2D(8, 3, padding="same", activation="relu")(image)))
    model = keras.Model(image, layers.Dense(4, activation="softmax", name="quarter")(hidden))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    fitted = model.fit(*pictures(2048), epochs=6, verbose=0)
    print(f"keras: accuracy {fitted.history['accuracy'][-1]:.3f}")
    model.save(MODELS / "quarter.keras")


def paddle() -> None:
    """The same in PaddlePaddle, channels first, as an inference model."""
    import paddle

    paddle.seed(0)
    nn = paddle.nn
    model = nn.Sequential(nn.Conv2D(1, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2D(4), nn.Flatten(), nn.Linear(128, 4))
    optimizer = paddle.optimizer.Adam(0.01, parameters=model.parameters())
    found, quarter = pictures(2048)
    x, y = paddle.to_tensor(found.transpose(0, 3, 1, 2)), paddle.to_tensor(quarter)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    print(f"paddle: accuracy {float((model(x).argmax(1) == y).astype('float32').mean()):.3f}")
    model.eval()
    spec = paddle.static.InputSpec([None, 1, 16, 16], "float32", name="image")
    paddle.jit.save(model, str(MODELS / "quarter"), input_spec=[spec])


def tabular() -> None:
    """A scikit-learn pipeline on Iris; its labels are texts."""
    import joblib
    import numpy as np
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    iris = load_iris()
    x, names = iris.data.astype(np.float32), iris.target_names[iris.target]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, names)
    print(f"sklearn: accuracy {model.score(x, names):.3f}")
    joblib.dump(model, MODELS / "iris.joblib")


def main() -> None:
    """Each in its environment."""
    from generator.environment import Environment, ensure

    MODELS.mkdir(exist_ok=True)
    for name in ("tensorflow", "paddle", "tabular"):
        subprocess.run([str(ensure(Environment(name))), __file__, name], check=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        {"tensorflow": tensorflow, "paddle": paddle, "tabular": tabular}[sys.argv[1]]()
    else:
        main()
