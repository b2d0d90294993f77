"""PaddlePaddle inference models (.json or .pdmodel, with .pdiparams beside it). Converted by paddle2onnx."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from child import Refused, read, rename, serve, short, write


def _files(said: dict[str, Any]) -> tuple[str, str]:
    model = Path(said["model"])
    weights = said["weights"] or str(model.with_suffix(".pdiparams"))
    return str(model), weights


@functools.cache
def _load(model: str, weights: str) -> Any:
    from paddle import inference

    config = inference.Config(model, weights)
    config.disable_gpu()
    config.disable_glog_info()
    config.switch_ir_optim(False)
    try:
        return inference.create_predictor(config)
    except Exception as error:
        raise Refused(
            f"{model}: PaddlePaddle does not load it: {short(error)}", "are both files whole, and of one model?"
        ) from None


def _unknown(model: str) -> list[str]:
    """Operators whose names are like none that paddle2onnx translates; its own names differ from PaddlePaddle's."""
    from paddle2onnx import paddle2onnx_cpp2py_export as native

    known = [name.replace("_", "") for name in native.get_all_supported_operators_pir()]
    used = {name for name in _operators(_program(model)) if name not in ("data", "fetch", "feed")}
    plain = {name: name.replace("_", "") for name in used}
    return sorted(name for name, own in plain.items() if not any(own in other or other in own for other in known))


def _program(model: str) -> Any:
    if not model.endswith(".json"):
        return None
    try:
        return json.loads(Path(model).read_text(encoding="utf-8"))["program"]
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"{model}: not a PaddlePaddle program, or cut short: {short(error)}", "save it again: paddle.jit.save"
        ) from None


def _operators(value: Any) -> list[str]:
    """Names in the dialect of operators (`1.`) of a serialised program."""
    if isinstance(value, list):
        return [name for one in value for name in _operators(one)]
    if not isinstance(value, dict):
        return []
    own = [value["#"][2:]] if str(value.get("#", "")).startswith("1.") and "O" in value else []
    return own + [name for key in ("regions", "blocks", "ops", "A") for name in _operators(value.get(key))]


def _convert(model: str, weights: str, opset: str, output: str) -> None:
    """In a process of its own: paddle2onnx aborts at an operator that it does not know."""
    import paddle2onnx

    paddle2onnx.export(model, weights, output, opset_version=int(opset), optimize_tool="none")


def export(said: dict[str, Any], opset: int, output: str) -> dict[str, str]:
    """Inputs and outputs by the predictor's names."""
    import onnx
    import paddle2onnx

    model, weights = _files(said)
    _program(model)
    predictor = _load(model, weights)
    command = [sys.executable, __file__, model, weights, str(min(opset, 18)), output]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(
            f"{model}: paddle2onnx does not convert it: {_reason(model, done)}", "write that part of the model otherwise"
        )
    made = onnx.load(output)
    rename(made, predictor.get_input_names(), [_safe(name) for name in predictor.get_output_names()])
    onnx.save(made, output)
    return {"exporter": f"paddle2onnx {paddle2onnx.__version__}"}


def _reason(model: str, done: Any) -> str:
    if done.returncode < 0 and (names := _unknown(model)):
        return f"it has no operator {', '.join(names)}"
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if "rror" in line]
    return str((lines or [f"it ended with code {done.returncode}"])[0][:300])


def answer(said: dict[str, Any], feeds: str, output: str) -> dict[str, str]:
    """PaddlePaddle's own predictor, unoptimised."""
    import paddle

    predictor, given = _load(*_files(said)), read(feeds)
    for name in predictor.get_input_names():
        predictor.get_input_handle(name).copy_from_cpu(given[name])
    predictor.run()
    write(output, {_safe(name): predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()})
    return {"by": f"PaddlePaddle {paddle.__version__}"}


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in name)


if __name__ == "__main__":
    if sys.argv[1:]:
        _convert(*sys.argv[1:])
        sys.exit()
    serve(export=export, answer=answer)
