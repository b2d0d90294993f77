"""XGBoost's own model files (.json, .ubj): there is no code in them. Converted by onnxmltools."""

from __future__ import annotations

import functools
import json
from typing import Any

from child import Refused, read, serve, short, write
from tabular import CLASSIFIER, REGRESSOR, boosted, finish, spans

#: What is made of the trees' sums, where onnxmltools 1.16.0 makes something else of them, or nothing.
_WRONG = ("reg:logistic", "binary:hinge", "binary:logitraw")


@functools.cache
def _load(path: str) -> tuple[Any, str]:
    import xgboost

    try:
        booster = xgboost.Booster(model_file=path)
    except Exception as error:
        raise Refused(
            f"{path}: not an XGBoost model, or cut short: {short(error)}", "save it again: booster.save_model(path)"
        ) from None
    booster.feature_names = booster.feature_types = None  # the converter knows features by their place
    learner = json.loads(booster.save_config())["learner"]
    kind, objective = learner["gradient_booster"]["name"], learner["objective"]["name"]
    if kind != "gbtree":
        raise Refused(f"{path}: its booster is {kind}, which onnxmltools does not convert", "train it with booster=gbtree")
    if int(learner["learner_model_param"].get("num_target", "1")) > 1:
        raise Refused(f"{path}: it has several targets, which onnxmltools does not convert", "train a model for each target")
    if objective in _WRONG:
        raise Refused(
            f"{path}: its objective is {objective}, which onnxmltools converts wrongly", "train it with binary:logistic"
        )
    if objective == "multi:softmax":  # the same trees; probabilities besides the label
        booster.set_param({"objective": "multi:softprob"})
    return booster, objective


def export(said: dict[str, Any], opset: int, output: str) -> dict[str, str]:
    """One input, FP32 [batch, features]."""
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    booster, objective = _load(said["file"])
    taken = [("input", FloatTensorType([None, booster.num_features()]))]
    model = onnxmltools.convert_xgboost(booster, initial_types=taken, target_opset=min(opset, 15))
    finish(model, output, ["input"], list(CLASSIFIER if _classifies(objective) else REGRESSOR))
    return {"exporter": f"onnxmltools {onnxmltools.__version__}", "objective": objective}


def answer(said: dict[str, Any], feeds: str, output: str) -> dict[str, str]:
    """What the booster itself predicts."""
    import xgboost

    booster, objective = _load(said["file"])
    found = booster.predict(xgboost.DMatrix(read(feeds)["input"]))
    write(output, boosted(found, _classifies(objective)))
    return {"by": f"xgboost {xgboost.__version__}"}


def ranges(said: dict[str, Any]) -> dict[str, Any]:
    """Where its trees split."""
    booster, _ = _load(said["file"])
    table = booster.trees_to_dataframe()
    table = table[table.Feature != "Leaf"]
    splits = zip(table.Feature.str[1:].astype(int), table.Split.fillna(0.0), strict=True)
    return {"input": spans(splits, booster.num_features())}


def _classifies(objective: str) -> bool:
    return objective.startswith(("binary:", "multi:"))


if __name__ == "__main__":
    serve(export=export, answer=answer, ranges=ranges)
