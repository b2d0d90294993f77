"""LightGBM's own model files (.txt): there is no code in them. Converted by onnxmltools."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from child import Refused, read, serve, short, write
from tabular import CLASSIFIER, REGRESSOR, boosted, finish, spans

#: What is made of the trees' sums, where onnxmltools 1.16.0 makes something else of them, or nothing.
_WRONG = ("multiclassova", "cross_entropy", "cross_entropy_lambda", "custom", "none")


@functools.cache
def _load(path: str) -> tuple[Any, str]:
    import lightgbm

    head, _, trees = Path(path).read_text(encoding="utf-8", errors="replace").partition("\nTree=0")
    cut = "\nparameters:" in trees and "\nend of parameters" not in trees  # LightGBM itself ends with a crash at such files
    if "\nend of trees" not in trees or cut:
        raise Refused(f"{path}: not a LightGBM model, or cut short", "save it again: booster.save_model(path)")
    try:
        booster = lightgbm.Booster(model_file=path)
    except Exception as error:
        raise Refused(f"{path}: LightGBM does not read it: {short(error)}", "save it again: booster.save_model(path)") from None
    said = re.search(r"^objective=(.+)$", head, re.M)
    words = said.group(1).split() if said else ["none"]
    reasons = {
        f"its objective is {words[0]}": words[0] in _WRONG,
        "it was trained with reg_sqrt": "sqrt" in words,
        "it is a random forest (boosting=rf)": re.search(r"^average_output$", head, re.M) is not None,
        "its trees have linear leaves (linear_tree)": "\nis_linear=1" in trees,
    }
    for reason, holds in reasons.items():
        if holds:
            raise Refused(f"{path}: {reason}, which onnxmltools converts wrongly or not at all", "train it without")
    return booster, words[0]


def export(said: dict[str, Any], opset: int, output: str) -> dict[str, str]:
    """One input, FP32 [batch, features]."""
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    booster, objective = _load(said["file"])
    taken = [("input", FloatTensorType([None, booster.num_feature()]))]
    model = onnxmltools.convert_lightgbm(booster, initial_types=taken, target_opset=min(opset, 15), zipmap=False)
    finish(model, output, ["input"], list(CLASSIFIER if _classifies(objective) else REGRESSOR))
    return {"exporter": f"onnxmltools {onnxmltools.__version__}", "objective": objective}


def answer(said: dict[str, Any], feeds: str, output: str) -> dict[str, str]:
    """What the booster itself predicts."""
    import lightgbm
    import numpy as np

    booster, objective = _load(said["file"])
    found = np.asarray(booster.predict(read(feeds)["input"]), np.float32)
    write(output, boosted(found, _classifies(objective)))
    return {"by": f"lightgbm {lightgbm.__version__}"}


def ranges(said: dict[str, Any]) -> dict[str, Any]:
    """Where its trees split; categories by their numbers."""
    booster, _ = _load(said["file"])
    table = booster.trees_to_dataframe()
    table = table[table.split_feature.notna()]
    places = {name: place for place, name in enumerate(booster.feature_name())}
    splits = [
        (places[feature], float(number))
        for feature, value in zip(table.split_feature, table.threshold, strict=True)
        for number in str(value).split("||")
    ]
    return {"input": spans(splits, booster.num_feature())}


def _classifies(objective: str) -> bool:
    return objective in ("binary", "multiclass")


if __name__ == "__main__":
    serve(export=export, answer=answer, ranges=ranges)
