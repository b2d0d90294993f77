"""The exception tree. Everything a user can cause is a `TritonRepoError` and ends in one message and exit code 1.

TritonRepoError
├── SpecError          the YAML is wrong                      (file:line)
├── CheckpointError    the trained file is missing or unfit   (file, tensor)
├── ExportError        torch or the exporter refused          (module, operator)
├── SurgeryError       a head, an NMS or a pass did not fit   (pass, tensor)
├── RepositoryError    the output folder is not ours to write (path)
├── VerifyError        served is not what was trained         (rung)
├── ServerError        no server, or it did not start         (model)
├── ClientError        the server is away or refused a request
└── ToolError          something that must be installed is not
"""

from __future__ import annotations


class TritonRepoError(Exception):
    """One message: where, what was found, what was expected; and the remedy, what to do about it."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class SpecError(TritonRepoError):
    """The YAML says something that cannot be."""


class CheckpointError(TritonRepoError):
    """The trained file is missing, truncated, unsafe, or does not fit the model."""


class ExportError(TritonRepoError):
    """The model could not be turned into ONNX."""


class SurgeryError(TritonRepoError):
    """A change of the graph did not find what it works on."""


class RepositoryError(TritonRepoError):
    """The output folder cannot be, or must not be, written."""


class VerifyError(TritonRepoError):
    """Two rungs of the parity ladder differ by more than their bound, or nothing was compared."""


class ServerError(TritonRepoError):
    """tritonserver was not found, did not start, or did not load a model."""


class ClientError(TritonRepoError):
    """The server could not be reached, or answered with an error."""


class ToolError(TritonRepoError):
    """A program or a package that this command needs is not usable."""


_BY_NAME: dict[str, type[TritonRepoError]] = {cls.__name__: cls for cls in TritonRepoError.__subclasses__()}


def from_name(name: str, message: str, remedy: str) -> TritonRepoError:
    """The error a child process reported, as the same class in this process."""
    return _BY_NAME.get(name, TritonRepoError)(message, remedy)
