# mypy: ignore-errors
"""Small models of other frameworks, trained in the converters' own environments: `python converted_models.py FAMILY FOLDER`.

Keras: Functional of two outputs, Sequential (HDF5), LSTM of free length, embedding, Lambda; a SavedModel; TFLite, float and int8.
Run by path in those environments; each function writes its models into the folder. Nothing here imports `generator`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def tensorflow(folder: Path) -> None:
    """What the module says."""
    import keras
    import numpy as np
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    layers, random = keras.layers, np.random.default_rng(1)
    image = keras.Input((16, 16, 3), name="image")
    hidden = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    hidden = layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(layers.BatchNormalization()(hidden)))
    outputs = [layers.Dense(5, activation="softmax", name="probabilities")(hidden), layers.Dense(2, name="embedding")(hidden)]
    model = keras.Model(image, outputs)
    model.compile("adam", ["sparse_categorical_crossentropy", "mse"])
    pictures = random.random((64, 16, 16, 3), dtype=np.float32)
    model.fit(pictures, [random.integers(0, 5, 64), random.random((64, 2))], epochs=2, verbose=0)
    model.save(folder / "functional.keras")
    model.export(str(folder / "saved"), verbose=False)
    sequential = [keras.Input((16, 16, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3, name="scores")]
    keras.Sequential(sequential).save(folder / "sequential.h5")
    recurrent = [keras.Input((None, 6), name="steps"), layers.LSTM(8, return_sequences=True), layers.Bidirectional(layers.GRU(4))]
    keras.Sequential([*recurrent, layers.Dense(2, name="answer")]).save(folder / "lstm.keras")
    words = [keras.Input((12,), dtype="int32", name="tokens"), layers.Embedding(5, 8), layers.LSTM(8)]
    keras.Sequential([*words, layers.Dense(1, name="score")]).save(folder / "embedding.keras")
    keras.Sequential([keras.Input((4,)), layers.Lambda(lambda v: v * 2), layers.Dense(2)]).save(folder / "lambda.keras")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    (folder / "float.tflite").write_bytes(converter.convert())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([one[None]] for one in pictures)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (folder / "int8.tflite").write_bytes(converter.convert())


def reaching(folder: Path) -> None:
    """A SavedModel whose function writes a file."""
    import tensorflow as tf

    class Writes(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
        def __call__(self, x):
            tf.io.write_file(str(folder / "ran"), "ran")
            return {"y": x * 2}

    module = Writes()
    tf.saved_model.save(module, str(folder / "writes"), signatures=module.__call__)


def paddle(folder: Path) -> None:
    """A CNN as `paddle.jit.save` writes it, one with an operator that the converter lacks, one in the old format."""
    import paddle

    paddle.seed(1)
    nn = paddle.nn

    class Net(nn.Layer):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2D(3, 4, 3, padding=1), nn.BatchNorm2D(4), nn.ReLU(), nn.AdaptiveAvgPool2D(1), nn.Flatten()
            )
            self.last = nn.Linear(4, 5)

        def forward(self, image):
            return nn.functional.softmax(self.last(self.body(image)))

    class Odd(nn.Layer):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(4, 4)

        def forward(self, x):
            return paddle.linalg.svd(self.last(x))[1]

    for name, model, shape in (("net", Net(), [None, 3, 16, 16]), ("odd", Odd(), [None, 4, 4])):
        model.eval()
        paddle.jit.save(model, str(folder / name), input_spec=[paddle.static.InputSpec(shape, "float32", name="image")])
    paddle.enable_static()
    with paddle.pir_utils.OldIrGuard():
        main, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.static.program_guard(main, startup):
            x = paddle.static.data("image", [None, 3, 8, 8], "float32")
            y = paddle.static.nn.fc(paddle.mean(paddle.static.nn.conv2d(x, 4, 3, act="relu"), [2, 3]), 3)
        executor = paddle.static.Executor(paddle.CPUPlace())
        executor.run(startup)
        paddle.static.save_inference_model(str(folder / "old"), [x], [y], executor, program=main)


def tabular(folder: Path) -> None:
    """scikit-learn, XGBoost and LightGBM, on Iris and on diabetes; columns by name; texts as labels and as input."""
    import joblib
    import lightgbm
    import numpy as np
    import pandas as pd
    import skops.io
    import xgboost
    from sklearn.compose import ColumnTransformer
    from sklearn.datasets import load_diabetes, load_iris
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    x, y = load_iris(return_X_y=True)
    x, names = x.astype(np.float32), np.array(["setosa", "versicolor", "virginica"])[y]
    many, amount = load_diabetes(return_X_y=True)
    scaled = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, names)
    joblib.dump(scaled, folder / "pipeline.joblib")
    skops.io.dump(scaled, folder / "pipeline.skops")
    joblib.dump(RandomForestClassifier(20, random_state=1).fit(x, y), folder / "forest.joblib")
    joblib.dump(HistGradientBoostingClassifier(max_iter=10).fit(x, y), folder / "histogram.joblib")
    joblib.dump(xgboost.XGBClassifier(n_estimators=5).fit(x, y), folder / "xgb.joblib")
    frame = pd.DataFrame({"width": x[:, 0], "length of petal": x[:, 2], "city": np.array(["a", "b", "c"])[np.arange(150) % 3]})
    encoder = OneHotEncoder(handle_unknown="ignore")
    parts = ColumnTransformer([("numbers", StandardScaler(), ["width", "length of petal"]), ("texts", encoder, ["city"])])
    joblib.dump(make_pipeline(parts, LogisticRegression()).fit(frame, names), folder / "columns.joblib")
    data = {"classes": (x, y), "amount": (many.astype(np.float32), amount)}
    said = {
        "multi": ("classes", "multi:softprob"),
        "amount": ("amount", "reg:squarederror"),
        "logistic": ("amount", "reg:logistic"),
    }
    for name, (of, objective) in said.items():
        table, target = data[of]
        target = target / target.max() if name == "logistic" else target
        more = {"num_class": 3} if name == "multi" else {}
        xgboost.train({"objective": objective, **more}, xgboost.DMatrix(table, target), 20).save_model(folder / f"{name}.ubj")
    xgboost.train({"booster": "dart"}, xgboost.DMatrix(many, amount), 2).save_model(folder / "dart.json")
    rounded = np.column_stack([np.round(x[:, 0]), x[:, 1:]])
    binary = lightgbm.Dataset(rounded, y > 1, categorical_feature=[0])
    lightgbm.train({"objective": "binary", "verbose": -1}, binary, 20).save_model(folder / "binary.txt")
    lightgbm.train({"verbose": -1}, lightgbm.Dataset(many, amount), 20).save_model(folder / "amount.txt")
    rows = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7, "verbose": -1}
    lightgbm.train(rows, lightgbm.Dataset(many, amount), 5).save_model(folder / "forest.txt")


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    {"tensorflow": tensorflow, "reaching": reaching, "paddle": paddle, "tabular": tabular}[sys.argv[1]](
        Path(sys.argv[2]).resolve()
    )
