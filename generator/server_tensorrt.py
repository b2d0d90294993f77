"""Which TensorRT and which CUDA a tritonserver carries, and the container that builds plans for it."""

from __future__ import annotations

from generator import server_version
from generator.server_version import Version

#: https://docs.nvidia.com/deeplearning/frameworks/support-matrix/index.html, and the release notes of each container
#: (https://docs.nvidia.com/deeplearning/triton-inference-server/release-notes/index.html).
#: The pages could not be opened when this was written. Seen: 24.07, 24.08, 24.09, 24.12 and 25.02 in Dockerfile.win10.min on the
#: server's release branches; 24.09, 24.10 and 25.09 in what others saw in the containers; the rest is as remembered.
#: Later releases are not listed: for those nothing is claimed.
_TENSORRT = {
    "24.05": "10.0", "24.06": "10.1", "24.07": "10.2", "24.08": "10.3", "24.09": "10.4", "24.10": "10.5", "24.11": "10.6",
    "24.12": "10.7", "25.01": "10.8", "25.02": "10.8", "25.03": "10.9", "25.04": "10.9", "25.05": "10.10", "25.06": "10.11",
    "25.07": "10.11", "25.08": "10.13", "25.09": "10.13", "25.10": "10.13", "25.11": "10.14", "25.12": "10.14",
}  # fmt: skip
#: The first release with TensorRT 10: those before have no `trtexec --stronglyTyped`.
FIRST = "24.05"
#: From this release on CUDA 13, before it CUDA 12 (the same release notes, "Driver Requirements").
_CUDA_13 = "25.08"
_IMAGE = "nvcr.io/nvidia/tensorrt:{}-py3"


def release(server: Version) -> str:
    """The newest container release with that server; empty where none is known."""
    found = [name for name, version in server_version.releases().items() if server_version.parse(version) == server]
    return max(found, default="")


def tensorrt(server: Version) -> str:
    """TensorRT's major and minor version in that server, such as 10.5; empty where it is not known."""
    return _TENSORRT.get(release(server), "")


def cuda(server: Version) -> int:
    """The major version of CUDA in that server's container; 0 where it is not known."""
    name = release(server)
    return 0 if not name else 13 if name >= _CUDA_13 else 12


def image(server: Version) -> str:
    """The official container of the same release, which has trtexec; empty where there is none.

    The same release is what the server's own documents advise (server, docs/user_guide/custom_operations.md, "TensorRT").
    """
    name = release(server)
    return _IMAGE.format(name) if name >= FIRST else ""
