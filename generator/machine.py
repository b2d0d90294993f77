"""What GPU host this is: its GPUs, their compute capabilities, the driver, and whether that driver is new enough."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from generator.errors import ToolError

#: Properties as `nvidia-smi --help-query-gpu` names them.
_ASKED = ("index", "name", "compute_cap", "memory.total", "driver_version", "uuid")
_KERNEL = Path("/proc/driver/nvidia/version")
#: CUDA major version -> the oldest driver that runs programs made for any of its minor versions
#: (https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html, table 1).
OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
_DRIVERS = "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html"


@dataclass(frozen=True)
class Gpu:
    """One GPU; `index` is its number for nvidia-smi and docker, `capability` such as 8.9, `memory` in MiB."""

    index: int
    name: str
    capability: str
    memory: int

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.capability})"


@dataclass(frozen=True)
class Machine:
    """The GPUs that are here, and their driver; `why` says in words why there is none."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    why: str = ""
    remedy: str = ""

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Each once, in the order of the GPUs."""
        return tuple(dict.fromkeys(gpu.capability for gpu in self.gpus))

    def gpu(self, capability: str | None) -> Gpu | None:
        """The first GPU of that compute capability; the first of all for None."""
        return next((gpu for gpu in self.gpus if capability in (None, gpu.capability)), None)

    def __str__(self) -> str:
        return f"{', '.join(map(str, self.gpus))}, driver {self.driver}" if self.gpus else self.why


def look() -> Machine:
    """This machine, by nvidia-smi; without a GPU, why."""
    if not shutil.which("nvidia-smi"):
        return _without()
    command = ["nvidia-smi", f"--query-gpu={','.join(_ASKED)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Machine(why="no GPU can be used here: nvidia-smi does not answer", remedy="restart the driver, or the machine")
    said = (done.stdout + done.stderr).strip()
    if done.returncode or not done.stdout.strip():
        last = (said.splitlines() or [f"code {done.returncode}"])[-1]
        return Machine(why=f"no GPU can be used here: nvidia-smi says: {last[:200]}", remedy=_remedy(last))
    try:
        rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.strip().splitlines()]
        gpus = tuple(Gpu(int(row[0]), row[1], row[2], _number(row[3])) for row in rows)
        return _visible(Machine(gpus, rows[0][4]), [row[5] if len(row) > 5 else "" for row in rows])
    except (ValueError, IndexError):
        return Machine(why=f"nvidia-smi answers in a way that is not known: {said[:200]}", remedy="update the NVIDIA driver")


def _visible(found: Machine, uuids: list[str]) -> Machine:
    """As far as CUDA_VISIBLE_DEVICES lets programs see: on a shared host another GPU is somebody else's.

    Numbers (as nvidia-smi counts) and beginnings of UUIDs; the first that fits nothing ends the list (CUDA C++ Programming Guide,
    "CUDA Environment Variables").
    """
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said is None:
        return found
    seen: list[Gpu] = []
    for word in map(str.strip, said.split(",")):
        fits = [
            gpu
            for gpu, uuid in zip(found.gpus, uuids, strict=True)
            if word == str(gpu.index) or (word.startswith("GPU-") and uuid.startswith(word))
        ]
        if len(fits) != 1:
            break
        seen += fits
    if seen:
        return Machine(tuple(seen), found.driver)
    what = f"CUDA_VISIBLE_DEVICES is {said!r}, which hides every GPU of this machine"
    return Machine(why=what, remedy="unset it, or name a GPU as nvidia-smi -L lists them")


def here() -> Machine:
    """This machine, which has a GPU. Raises ToolError where it has none."""
    found = look()
    if not found.gpus:
        raise ToolError(found.why, found.remedy)
    return found


def _number(cell: str) -> int:
    """Some GPUs that share the host's memory answer [N/A]."""
    return int(cell) if cell.isdecimal() else 0


def _remedy(said: str) -> str:
    if "compute_cap" in said:
        return "update the NVIDIA driver: this one does not tell compute capabilities"
    if "No devices were found" in said:
        return "give this machine a GPU; in a container, start it with --gpus=all"
    return "install the NVIDIA driver again, of one version; after an update restart the machine"


def _without() -> Machine:
    """No nvidia-smi: is there a driver all the same?"""
    try:
        kernel = _KERNEL.read_text(encoding="utf-8").splitlines()[0].partition("Module")[2].split()
    except (OSError, IndexError):
        kernel = []
    if kernel:
        what = f"the NVIDIA driver {kernel[0]} is loaded, but there is no nvidia-smi on PATH, so its GPUs cannot be told"
        return Machine(why=what, remedy="install nvidia-smi (a package of the driver); in a container, start it with --gpus=all")
    why = "this machine has no NVIDIA GPU (no nvidia-smi on PATH, no driver in /proc/driver/nvidia)"
    return Machine(why=why, remedy="run it on the GPU host; the repository can be copied there as it is")


def too_old(driver: str, cuda: int) -> tuple[str, str] | None:
    """Why `driver` cannot run what is made for CUDA `cuda` (the major version), and the remedy; None where it can."""
    oldest = OLDEST_DRIVER.get(cuda)
    major = driver.partition(".")[0]
    if oldest is None or not major.isdecimal() or int(major) >= oldest:
        return None
    return f"the driver {driver} is too old for CUDA {cuda}, which needs {oldest} or newer", f"update it ({_DRIVERS})"
