"""Other frameworks for real: models trained in the converters' environments, built, and held against their framework as served.

Environments of 0.5 to 1.6 GB are made where they are missing, so all of this is of `make test-full`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from generator.cli import run
from generator.environment import Environment, ensure
from generator.install import clean_environment

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]

#: name -> its `checkpoint:`, and what it takes.
MODELS: dict[str, dict[str, dict[str, Any]]] = {
    "tensorflow": {
        "functional": {"kind": "tensorflow", "path": "functional.keras"},
        "sequential": {"kind": "tensorflow", "path": "sequential.h5"},
        "lstm": {
            "kind": "tensorflow", "path": "lstm.keras", "inputs": {"steps": ["batch", "time", 6]}, "axes": {"time": [2, 20]},
        },
        "embedding": {
            "kind": "tensorflow", "path": "embedding.keras",
            "inputs": {"tokens": {"dtype": "INT32", "shape": ["batch", 12], "range": [0, 5]}},
        },
        "saved": {"kind": "tensorflow", "path": "saved"},
        "float": {"kind": "tflite", "file": "float.tflite"},
        "int8": {"kind": "tflite", "file": "int8.tflite"},
        "lambda": {"kind": "tensorflow", "path": "lambda.keras", "trust_checkpoint": True},
    },
    "paddle": {"net": {"kind": "paddle", "model": "net.json"}, "old": {"kind": "paddle", "model": "old.pdmodel"}},
    "tabular": {
        "pipeline": {"kind": "sklearn", "file": "pipeline.joblib", "trust_checkpoint": True},
        "safe": {"kind": "sklearn", "file": "pipeline.skops"},
        "forest": {"kind": "sklearn", "file": "forest.joblib", "trust_checkpoint": True},
        "histogram": {"kind": "sklearn", "file": "histogram.joblib", "trust_checkpoint": True},
        "pickled": {"kind": "sklearn", "file": "xgb.joblib", "trust_checkpoint": True},
        "columns": {
            "kind": "sklearn", "file": "columns.joblib", "trust_checkpoint": True,
            "columns": {
                "width": {"range": [4, 8]}, "length of petal": {"range": [1, 7]},
                "city": {"dtype": "BYTES", "values": ["a", "z"]},
            },
        },
        "multi": {"kind": "xgboost", "file": "multi.ubj"},
        "amount": {"kind": "xgboost", "file": "amount.ubj"},
        "binary": {"kind": "lightgbm", "file": "binary.txt"},
        "light": {"kind": "lightgbm", "file": "amount.txt"},
    },
}  # fmt: skip


def spec(folder: Path, name: str, checkpoint: dict[str, Any]) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({"name": name, "checkpoint": checkpoint}))
    return path


def trained(family: str, folder: Path, packages: str = "") -> Path:
    script = Path(__file__).with_name("converted_models.py")
    python = ensure(Environment(packages or family))
    done = subprocess.run(
        [str(python), str(script), family, str(folder)], env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="module", params=sorted(MODELS))
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The models of one environment."""
    return request.param, trained(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def family(models: tuple[str, Path]) -> tuple[str, Path]:
    """The same, built into one repository."""
    name, folder = models
    specs = [spec(folder, one, checkpoint) for one, checkpoint in MODELS[name].items()]
    assert run(["build", *map(str, specs), "-o", str(folder / "repo")]) == 0
    return models


def test_each_model_is_served_as_its_framework_computes(family: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    name, folder = family
    specs = [str(folder / f"{one}.yaml") for one in MODELS[name]]
    capsys.readouterr()
    code = run(["verify", *specs, "-r", str(folder / "repo"), "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    rungs = json.loads(captured.out)
    assert {rung["pipeline"] for rung in rungs} == set(MODELS[name])
    for rung in rungs:
        assert rung["result"]["compared"] > 0, rung
    served = [rung for rung in rungs if rung["name"] == "served"]
    assert len(served) == len(MODELS[name])
    frameworks = ("TensorFlow", "TFLite", "PaddlePaddle", "scikit-learn", "xgboost", "lightgbm")
    assert all(rung["against"].startswith(frameworks) for rung in served)


@pytest.mark.parametrize("rows", [1, 8])
def test_rows_are_served_together_and_alone(family: tuple[str, Path], server: Callable[..., Any], rows: int) -> None:
    """The same request as one of eight rows gives the same row: the batch axis is a batch."""
    name, folder = family
    model, shape = {"tensorflow": ("functional", (16, 16, 3)), "paddle": ("net", (3, 16, 16)), "tabular": ("pipeline", (4,))}[
        name
    ]
    values = np.random.default_rng(2).random((8, *shape), dtype=np.float32) * 4
    client = triton.InferenceServerClient(server(folder / "repo").grpc_url)
    metadata = client.get_model_metadata(model)
    names = [output.name for output in metadata.outputs]

    def ask(part: Any) -> dict[str, Any]:
        given = triton.InferInput(metadata.inputs[0].name, list(part.shape), "FP32")
        given.set_data_from_numpy(part)
        answer = client.infer(model, [given])
        return {name: answer.as_numpy(name) for name in names}

    together, alone = ask(values), [ask(values[i : i + rows]) for i in range(0, 8, rows)]
    for output in names:
        whole, pieces = together[output], np.concatenate([one[output] for one in alone])
        assert whole.shape == pieces.shape
        assert len(whole) == 8
        if whole.dtype == object:
            assert whole.tolist() == pieces.tolist()
        else:
            np.testing.assert_allclose(whole, pieces, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("models", "checkpoint", "message"),
    [
        ("tensorflow", {"kind": "tensorflow", "path": "lambda.keras"}, "loading it runs code from the file (a Lambda layer)"),
        (
            "tensorflow",
            {"kind": "tensorflow", "path": "saved", "signature": "other"},
            "no signature 'other'; it has serve, serving_",
        ),
        ("tensorflow", {"kind": "tensorflow", "path": "embedding.keras"}, "the model rejects the values that were tried"),
        ("paddle", {"kind": "paddle", "model": "odd.json"}, "paddle2onnx does not convert it: it has no operator svd"),
        ("tabular", {"kind": "xgboost", "file": "dart.json"}, "its booster is dart, which onnxmltools does not convert"),
        (
            "tabular",
            {"kind": "xgboost", "file": "logistic.ubj"},
            "its objective is reg:logistic, which onnxmltools converts wrongly",
        ),
        (
            "tabular",
            {"kind": "lightgbm", "file": "forest.txt"},
            "it is a random forest (boosting=rf), which onnxmltools converts",
        ),
        (
            "tabular",
            {"kind": "sklearn", "file": "columns.joblib", "trust_checkpoint": True},
            "say each column and its type: `columns: {w",
        ),
        ("tabular", {"kind": "sklearn", "file": "cut.joblib", "trust_checkpoint": True}, "not a pickled estimator, or cut short"),
        ("tabular", {"kind": "lightgbm", "file": "cut.txt"}, "not a LightGBM model, or cut short"),
        ("tabular", {"kind": "xgboost", "file": "cut.ubj"}, "not an XGBoost model, or cut short"),
    ],
    indirect=["models"],
)
def test_what_cannot_be_converted_is_one_message(
    models: tuple[str, Path], checkpoint: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = models
    for whole, cut in (("forest.joblib", "cut.joblib"), ("binary.txt", "cut.txt"), ("multi.ubj", "cut.ubj")):
        if (folder / whole).exists():
            (folder / cut).write_bytes((folder / whole).read_bytes()[:-900])
    assert run(["build", str(spec(folder, "bad", checkpoint)), "-o", str(folder / "bad")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (folder / "bad").exists()


def test_a_saved_model_that_writes_files_is_refused_and_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained("reaching", tmp_path, "tensorflow")
    (tmp_path / "ran").unlink(missing_ok=True)
    path = spec(tmp_path, "writes", {"kind": "tensorflow", "path": "writes"})
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 1
    assert "running it reaches beyond its graph (WriteFile); if you trust whoever made it" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
