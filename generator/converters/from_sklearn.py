"""scikit-learn estimators and pipelines, pickled or saved by skops; XGBoost's and LightGBM's among them. By skl2onnx."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from typing import Any

from child import Refused, read, serve, short, write
from tabular import CLASSIFIER, REGRESSOR, finish, spans

_TYPES = {"FP32": "Float", "FP64": "Double", "INT64": "Int64", "INT32": "Int32", "BOOL": "Boolean", "BYTES": "String"}


@functools.cache
def _load(path: str, trust: bool) -> tuple[Any, str]:
    """The estimator, and what is worth telling of its making."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = _skops(path, trust) if _is_zip(path) else _pickled(path, trust)
    if not hasattr(model, "fit") or not any(hasattr(model, name) for name in ("predict", "transform")):
        raise Refused(
            f"{path}: holds {type(model).__module__}.{type(model).__name__}",
            "save the fitted estimator itself; a Booster: save_model",
        )
    old = {str(w.message.original_sklearn_version) for w in said if hasattr(w.message, "original_sklearn_version")}
    return model, ", ".join(sorted(old))


def _is_zip(path: str) -> bool:
    import zipfile

    return zipfile.is_zipfile(path)


def _skops(path: str, trust: bool) -> Any:
    import skops.io

    try:
        unknown = skops.io.get_untrusted_types(file=path)
    except Exception as error:
        raise Refused(
            f"{path}: not a skops file, or cut short: {short(error)}", "save it again: skops.io.dump(model, path)"
        ) from None
    if unknown and not trust:
        some = ", ".join(unknown[:3])
        raise Refused(
            f"{path}: loading it runs code from the file ({some})", "if you trust whoever made it, say `trust_checkpoint: true`"
        )
    return skops.io.load(path, trusted=unknown)


def _pickled(path: str, trust: bool) -> Any:
    if not trust:
        raise Refused(f"{path}: loading it runs code from the file", "if you trust whoever made it, say `trust_checkpoint: true`")
    import joblib

    try:
        return joblib.load(path)
    except (ModuleNotFoundError, AttributeError) as error:
        remedy = "its own classes must lie in a package: list that package in `requirements:`, besides ours"
        raise Refused(f"{path}: {short(error)}", remedy) from None
    except Exception as error:
        raise Refused(
            f"{path}: not a pickled estimator, or cut short: {short(error)}", "save it again: joblib.dump(model, path)"
        ) from None


def _outputs(model: Any) -> tuple[tuple[str, str], ...]:
    """Names of what it gives, each with the method that gives it."""
    from sklearn.base import is_classifier, is_clusterer, is_outlier_detector

    if is_classifier(model):
        second = "predict_proba" if hasattr(model, "predict_proba") else "decision_function"
        return (CLASSIFIER[0], "predict"), (CLASSIFIER[1] if second == "predict_proba" else "scores", second)
    if is_outlier_detector(model):
        return ("label", "predict"), ("scores", "decision_function")
    if is_clusterer(model) and hasattr(model, "predict"):
        return ("label", "predict"), ("scores", "transform")
    return ((REGRESSOR[0], "predict"),) if hasattr(model, "predict") else (("transformed", "transform"),)


def _taken(path: str, model: Any, columns: dict[str, dict[str, Any]]) -> list[tuple[str, Any]]:
    """One table, FP32 [batch, features]; or a column for each input, [batch, 1], where the spec names them."""
    from skl2onnx.common import data_types

    if columns:
        return [(name, getattr(data_types, f"{_TYPES[one['dtype']]}TensorType")([None, 1])) for name, one in columns.items()]
    if named := sorted(set(_named(model))):
        wanted = ", ".join(f"{name}: {{}}" for name in getattr(model, "feature_names_in_", named))
        fix = f"say each column and its type: `columns: {{{wanted}}}`; {{dtype: BYTES, values: [...]}} for texts"
        raise Refused(f"{path}: it takes columns by their names ({', '.join(named[:5])})", fix)
    features = getattr(model, "n_features_in_", None)
    if features is None:
        raise Refused(f"{path}: {type(model).__name__} does not say how many features it takes", "fit it, then save it")
    return [("input", data_types.FloatTensorType([None, int(features)]))]


def _named(model: Any) -> Iterator[str]:
    """Columns that a ColumnTransformer takes by name."""
    for part in _parts(model):
        for _, _, columns in getattr(part, "transformers_", ()):
            names = [columns] if isinstance(columns, str) else columns
            yield from (name for name in (names if isinstance(names, list | tuple) else ()) if isinstance(name, str))


def _parts(model: Any) -> Iterator[Any]:
    """The estimator, and those in it."""
    yield model
    inner = [step for _, step in getattr(model, "steps", ())] + [one[1] for one in getattr(model, "transformers_", ())]
    inner += list(getattr(model, "estimators_", ())) if not hasattr(model, "tree_") else []
    for one in inner:
        for part in one if hasattr(one, "__iter__") and not isinstance(one, str) else [one]:
            if hasattr(part, "get_params"):
                yield from _parts(part)


def _register() -> None:
    """XGBoost's and LightGBM's estimators, which skl2onnx itself does not know."""
    import lightgbm
    import xgboost
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator as shapes

    both = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    for library, convert, prefix in ((xgboost, convert_xgboost, "XGB"), (lightgbm, convert_lightgbm, "LGBM")):
        classifier, regressor = getattr(library, f"{prefix}Classifier"), getattr(library, f"{prefix}Regressor")
        name = f"{library.__name__}{prefix}"
        update_registered_converter(
            classifier, f"{name}Classifier", shapes.calculate_linear_classifier_output_shapes, convert, options=both
        )
        split = {"split": None} if prefix == "LGBM" else None
        update_registered_converter(
            regressor, f"{name}Regressor", shapes.calculate_linear_regressor_output_shapes, convert, options=split
        )


def export(said: dict[str, Any], opset: int, output: str) -> dict[str, str]:
    """Labels and probabilities as tensors; texts as labels stay texts."""
    import skl2onnx

    _register()
    model, older = _load(said["file"], said["trust_checkpoint"])
    taken, names = _taken(said["file"], model, said["columns"]), [name for name, _ in _outputs(model)]
    made = _converted(model, taken, opset)
    finish(made, output, [_safe(name) for name, _ in taken], names[: len(made.graph.output)])
    facts = {"exporter": f"skl2onnx {skl2onnx.__version__}", "estimator": type(model).__name__}
    return {**facts, **({"saved by": f"scikit-learn {older}, loaded by another version"} if older else {})}


def _converted(model: Any, taken: list[tuple[str, Any]], opset: int) -> Any:
    from skl2onnx import convert_sklearn

    wanted = {"": min(opset, 18), "ai.onnx.ml": 3}
    try:
        return convert_sklearn(model, initial_types=taken, options={id(model): {"zipmap": False}}, target_opset=wanted)
    except NameError:  # only some classifiers know that option; the others make tensors anyway
        return convert_sklearn(model, initial_types=taken, target_opset=wanted)


def answer(said: dict[str, Any], feeds: str, output: str) -> dict[str, str]:
    """What its own methods say."""
    import numpy as np
    import sklearn

    model, _ = _load(said["file"], said["trust_checkpoint"])
    given, found = read(feeds), {}
    table = _frame(given, said["columns"]) if said["columns"] else given["input"]
    for name, method in _outputs(model):
        values = np.asarray(getattr(model, method)(table))
        values = (
            values.astype(np.float32)
            if values.dtype.kind == "f"
            else values.astype(np.int64)
            if values.dtype.kind in "iub"
            else values
        )
        found[name] = values.reshape(-1, 1) if values.ndim < 2 else values
    write(output, found)
    return {"by": f"scikit-learn {sklearn.__version__}"}


def _frame(given: dict[str, Any], columns: dict[str, Any]) -> Any:
    import pandas as pd

    return pd.DataFrame({name: given[_safe(name)].reshape(-1) for name in columns})


def ranges(said: dict[str, Any]) -> dict[str, Any]:
    """What the spec says of columns; of a table what its first step or its trees tell."""
    if said["columns"]:
        return {_safe(name): one["values"] or [list(one["range"] or (0.0, 1.0))] for name, one in said["columns"].items()}
    model, _ = _load(said["file"], said["trust_checkpoint"])
    return {"input": _spread(model, int(model.n_features_in_))}


def _spread(model: Any, features: int) -> list[list[float]]:
    import numpy as np

    first = model.steps[0][1] if hasattr(model, "steps") else model
    for low, high in (("data_min_", "data_max_"),):
        if hasattr(first, low):
            return list(map(list, zip(getattr(first, low).tolist(), getattr(first, high).tolist(), strict=True)))
    if getattr(first, "mean_", None) is not None and getattr(first, "scale_", None) is not None:
        return [[m - 2 * s, m + 2 * s] for m, s in zip(first.mean_.tolist(), first.scale_.tolist(), strict=True)]
    for known in ("cluster_centers_", "_fit_X", "support_vectors_"):
        if hasattr(first, known):
            points = np.asarray(getattr(first, known), np.float64)
            return list(map(list, zip(points.min(0).tolist(), points.max(0).tolist(), strict=True)))
    splits = list(_splits(first))
    return spans(splits, features) if splits else [[-2.0, 2.0]] * features


def _splits(model: Any) -> Iterator[tuple[int, float]]:
    """(feature, value) of every split of every tree in it."""
    for part in _parts(model):
        if hasattr(part, "tree_"):
            yield from ((f, t) for f, t in zip(part.tree_.feature.tolist(), part.tree_.threshold.tolist(), strict=True) if f >= 0)
        for stage in getattr(part, "_predictors", ()):
            for grown in stage:
                nodes = grown.nodes[grown.nodes["is_leaf"] == 0]
                yield from zip(nodes["feature_idx"].tolist(), nodes["num_threshold"].tolist(), strict=True)
    yield from _boosted(model)


def _boosted(model: Any) -> Iterator[tuple[int, float]]:
    """The same of XGBoost's and LightGBM's estimators."""
    if hasattr(model, "get_booster"):
        booster = model.get_booster()
        booster.feature_names = None
        table = booster.trees_to_dataframe()
        table = table[table.Feature != "Leaf"]
        yield from zip(table.Feature.str[1:].astype(int), table.Split.fillna(0.0), strict=True)
    elif hasattr(model, "booster_"):
        table = model.booster_.trees_to_dataframe()
        table = table[table.split_feature.notna()]
        places = {name: place for place, name in enumerate(model.booster_.feature_name())}
        for feature, value in zip(table.split_feature, table.threshold, strict=True):
            yield from ((places[feature], float(number)) for number in str(value).split("||"))


def _safe(name: str) -> str:
    """A column's name as a tensor's."""
    return "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in name)


if __name__ == "__main__":
    serve(export=export, answer=answer, ranges=ranges)
