"""Valid repositories, small, which between them use every part of the schema that the server's core judges."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf import text_format

from generator import model_config

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

#: Starts in a tenth of a second: nothing is imported, nothing is executed.
IDLE = "class TritonPythonModel:\n    def execute(self, requests):\n        return []\n"
#: Answers zeros of the configured shapes; for models that are warmed up.
ZEROS = """
import json
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.batch = [1] if int(config.get("max_batch_size", 0)) else []
        self.outputs = config["output"]

    def execute(self, requests):
        return [pb_utils.InferenceResponse([self.zeros(o) for o in self.outputs]) for _ in requests]

    def zeros(self, output):
        shape = [*self.batch, *(1 if int(d) < 0 else int(d) for d in output["dims"])]
        kind = pb_utils.triton_string_to_numpy(output["data_type"])
        return pb_utils.Tensor(output["name"], np.zeros(shape, dtype=kind))
"""


@dataclass
class Folder:
    """One model folder: its config (None: no file), its other files by path, its empty sub-folders."""

    config: ModelConfig | None
    files: dict[str, bytes] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)


Repository = dict[str, Folder]


def _python(text: str, code: str = IDLE, /, **files: bytes) -> Folder:
    config = text_format.Parse('backend: "python"\n' + text, model_config.new())
    return Folder(config, {"1/model.py": code.encode(), **{name.replace("__", "/"): data for name, data in files.items()}})


def _ensemble(text: str) -> Folder:
    return Folder(text_format.Parse('platform: "ensemble"\n' + text, model_config.new()), {}, {"1"})


def _io(*names: str, dims: str = "[ 4 ]", kind: str = "TYPE_FP32") -> str:
    return "".join(
        f'{"input" if n.startswith("I") else "output"} {{ name: "{n}" data_type: {kind} dims: {dims} }}\n' for n in names
    )


_CPU = "instance_group { kind: KIND_CPU count: 1 }\n"


def singles() -> dict[str, Folder]:
    """One model each."""
    return {
        "plain": _python("max_batch_size: 8\n" + _io("IN", "OUT") + _CPU),
        "unbatched": _python(_io("IN", "IN2", "OUT", dims="[ -1, 3 ]") + _CPU),
        "dynamic": _python(
            "max_batch_size: 8\n" + _io("IN", "OUT") + "dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 "
            "preserve_ordering: true default_queue_policy { timeout_action: REJECT default_timeout_microseconds: 9 max_queue_size: 5 } }\n" + _CPU
        ),
        "priorities": _python(
            "max_batch_size: 4\n" + _io("IN", "OUT") + "dynamic_batching { priority_levels: 3 default_priority_level: 2 "
            "priority_queue_policy { key: 1 value { timeout_action: DELAY default_timeout_microseconds: 7 } } "
            "priority_queue_policy { key: 3 value { max_queue_size: 2 } } }\n" + _CPU
        ),
        "direct": _python(
            "max_batch_size: 2\n" + _io("IN", "OUT", dims="[ 1 ]", kind="TYPE_INT32") + """sequence_batching {
              direct { minimum_slot_utilization: 0.5 max_queue_delay_microseconds: 3 } max_sequence_idle_microseconds: 1000
              control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }
              control_input { name: "READY" control { kind: CONTROL_SEQUENCE_READY fp32_false_true: [ 0, 1 ] } }
              control_input { name: "END" control { kind: CONTROL_SEQUENCE_END bool_false_true: [ false, true ] } }
              control_input { name: "CORRID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } } }\n""" + _CPU
        ),
        "oldest": _python(
            "max_batch_size: 4\n" + _io("IN", "OUT", dims="[ 1 ]") + """sequence_batching {
              oldest { max_candidate_sequences: 4 preferred_batch_size: [ 2, 4 ] max_queue_delay_microseconds: 5 } }\n""" + _CPU
        ),
        "state": _python(
            "max_batch_size: 1\n" + _io("IN", "OUT", dims="[ 1 ]") + """sequence_batching { direct { }
              state { input_name: "S_IN" output_name: "S_OUT" data_type: TYPE_FP32 dims: [ 2, 3 ]
                initial_state { name: "zero" data_type: TYPE_FP32 dims: [ 2, 3 ] zero_data: true } }
              state { input_name: "T_IN" output_name: "T_OUT" data_type: TYPE_INT32 dims: [ -1 ]
                initial_state { name: "file" data_type: TYPE_INT32 dims: [ 2 ] data_file: "init" } } }\n""" + _CPU,
            initial_state__init=bytes(8),
        ),
        "instances": _python(
            _io("IN", "OUT") + """instance_group { name: "a" kind: KIND_CPU count: 1
              rate_limiter { resources { name: "R" count: 2 } resources { name: "G" global: true count: 1 } priority: 2 } }
              instance_group { kind: KIND_AUTO count: 1 passive: true }\n"""
        ),
        "batch_io": _python(
            "max_batch_size: 4\n" + _io("IN", "OUT", dims="[ -1 ]") + """batch_input { kind: BATCH_ELEMENT_COUNT target_name: "COUNT"
              data_type: TYPE_FP32 source_input: "IN" } batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "OUT" source_input: "IN" }\n""" + _CPU
        ),
        "reshape": _python(
            """max_batch_size: 4 input { name: "IN" data_type: TYPE_FP32 dims: [ 2, 3, -1 ] reshape { shape: [ 6, -1 ] } }
            input { name: "ONE" data_type: TYPE_INT64 dims: [ 1 ] reshape { } optional: true }
            input { name: "PICTURE" data_type: TYPE_UINT8 format: FORMAT_NHWC dims: [ 4, 4, 3 ] allow_ragged_batch: true }
            output { name: "OUT" data_type: TYPE_FP16 dims: [ 6 ] reshape { shape: [ 2, 3 ] } }\n""" + _CPU
        ),
        "warmup": _python(
            "max_batch_size: 4\n" + _io("IN", "OUT", dims="[ 2 ]") + 'input { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] }\n'
            + """model_warmup { name: "sample" batch_size: 2 count: 1
              inputs { key: "IN" value { data_type: TYPE_FP32 dims: [ 2 ] input_data_file: "in" } }
              inputs { key: "TEXT" value { data_type: TYPE_STRING dims: [ 1 ] input_data_file: "text" } } }
              model_warmup { name: "random" batch_size: 1
              inputs { key: "IN" value { data_type: TYPE_FP32 dims: [ 2 ] random_data: true } }
              inputs { key: "TEXT" value { data_type: TYPE_STRING dims: [ 1 ] zero_data: true } } }\n""" + _CPU,
            ZEROS, warmup__in=bytes(8), warmup__text=b"\x02\x00\x00\x00hi",
        ),
        "policy": _python(
            _io("IN", "OUT") + "version_policy { specific { versions: [ 1, 3 ] } }\n" + _CPU,
            **{"2__model.py": IDLE.encode(), "3__model.py": IDLE.encode()},
        ),
        "latest": _python(_io("IN", "OUT") + "version_policy { latest { num_versions: 2 } }\n" + _CPU, **{"2__model.py": IDLE.encode()}),
        "labels": _python(
            """output { name: "OUT" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" } input { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] }
            response_cache { enable: true } parameters { key: "k" value { string_value: "v # {" } } metric_tags { key: "a" value: "b" }\n""" + _CPU,
            **{"labels.txt": b"a\nb\n"},
        ),
        "decoupled": _python(_io("IN", "OUT") + "model_transaction_policy { decoupled: true }\n" + _CPU),
        "optimised": _python(
            _io("IN", "OUT") + """optimization { graph { level: 1 } priority: PRIORITY_MAX input_pinned_memory { enable: false }
            gather_kernel_buffer_threshold: 4 eager_batching: true cuda { graphs: true graph_spec { batch_size: 1 } } }
            model_operations { } default_model_filename: "model.py"\n""" + _CPU
        ),
    }  # fmt: skip


def ensembles() -> dict[str, Repository]:
    """Ensembles with the models of their steps; the ensemble itself is called `ensemble`."""
    step = _python("max_batch_size: 8\n" + _io("IN", "OUT") + _CPU)
    two = _python("max_batch_size: 8\n" + _io("IN", "IN2", "OUT", "OUT2") + _CPU)
    wide = _python(_io("IN", "OUT", dims="[ -1, 4 ]") + _CPU)
    stream = _python("max_batch_size: 8\n" + _io("IN", "OUT") + "model_transaction_policy { decoupled: true }\n" + _CPU)
    maybe = _python(
        'max_batch_size: 8 input { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] } '
        'input { name: "EXTRA" data_type: TYPE_FP32 dims: [ 4 ] optional: true } output { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] }\n'
        + _CPU
    )
    outer = "max_batch_size: 4\n" + _io("IMAGE", "RESULT")

    def call(model: str, inputs: str, outputs: str, version: int = -1) -> str:
        maps = [f'input_map {{ key: "{a}" value: "{b}" }}' for a, b in (p.split("=") for p in inputs.split())]
        maps += [f'output_map {{ key: "{a}" value: "{b}" }}' for a, b in (p.split("=") for p in outputs.split())]
        return f'step {{ model_name: "{model}" model_version: {version} {" ".join(maps)} }}\n'

    def scheduled(*calls: str, head: str = outer) -> Folder:
        return _ensemble(f"{head} ensemble_scheduling {{ {''.join(calls)} }}")

    return {
        "chain": {"ensemble": scheduled(call("a", "IN=IMAGE", "OUT=x"), call("b", "IN=x", "OUT=RESULT", 1)), "a": step, "b": step},
        "fan": {
            "ensemble": scheduled(
                call("a", "IN=IMAGE", "OUT=x"), call("b", "IN=IMAGE", "OUT=y"), call("c", "IN=x IN2=y", "OUT=RESULT OUT2=SECOND"),
                head=outer + 'output { name: "SECOND" data_type: TYPE_FP32 dims: [ 4 ] }',
            ),
            "a": step, "b": maybe, "c": two,
        },
        "nested": {
            "ensemble": scheduled(call("inner", "IMAGE=IMAGE", "RESULT=x"), call("b", "IN=x", "OUT=RESULT")),
            "inner": scheduled(call("a", "IN=IMAGE", "OUT=RESULT")), "a": step, "b": step,
        },
        "mixed": {"ensemble": scheduled(call("a", "IN=IMAGE", "OUT=x"), call("b", "IN=x", "OUT=RESULT")), "a": wide, "b": step},
        "stream": {
            "ensemble": scheduled(call("a", "IN=IMAGE", "OUT=x OUT2=y"), call("b", "IN=x", "OUT=z"), call("c", "IN=z IN2=y", "OUT=RESULT")),
            "a": _python("max_batch_size: 8\n" + _io("IN", "OUT", "OUT2") + "model_transaction_policy { decoupled: true }\n" + _CPU),
            "b": step, "c": two,
        },
        "streams": {"ensemble": scheduled(call("a", "IN=IMAGE", "OUT=x"), call("b", "IN=x", "OUT=RESULT")), "a": stream, "b": stream},
    }  # fmt: skip
