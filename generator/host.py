"""What this machine must offer before anything is installed, and the one sentence that says what is missing.

Only the standard library, and syntax that an old interpreter still parses: this file is what tells its user to take a newer one.
"""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from pathlib import Path
from typing import NoReturn

from generator.errors import ToolError

PYTHONS = ((3, 11), (3, 12))
GLIBC = (2, 35)


def libpython() -> Path | None:
    """The running interpreter's shared library, which the server's python stub links; None when it has none."""
    name = f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0"
    libdir = sysconfig.get_config_var("LIBDIR") or ""
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    candidates = [Path(libdir, name), Path(libdir, multiarch, name), Path(sys.base_prefix, "lib", name)]
    return next((path for path in candidates if path.is_file()), None)


def glibc() -> tuple[int, ...]:
    """The C library's version as (2, 36); empty where it is another C library."""
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except (ValueError, OSError):
        return ()
    return tuple(int(part) for part in version.split(".")[:2]) if name == "glibc" else ()


def problem() -> tuple[str, str] | None:
    """What is missing and the remedy, or None when the server can run on this machine with this interpreter."""
    return _machine() or _python()


def require() -> None:
    """Stop with ToolError where `problem` finds one."""
    found = problem()
    if found:
        raise ToolError(*found)


def _machine() -> tuple[str, str] | None:
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        what = f"this machine is {platform.system()} on {platform.machine()}, and the server's wheel is for Linux on x86-64"
        return what, "use an x86-64 Linux machine or container"
    if glibc() < GLIBC:
        have = ".".join(map(str, glibc())) or "no glibc"
        return f"the server needs glibc 2.35 or newer and this system has {have}", "use Ubuntu 22.04, Debian 12 or newer"
    return None


def _python() -> tuple[str, str] | None:
    version = ".".join(map(str, sys.version_info[:3]))
    take = "call make with PYTHON=/path/to/python3.11 (or 3.12)"
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in PYTHONS:
        return f"this is {platform.python_implementation()} {version}, and CPython 3.11 or 3.12 is needed", take
    short = ".".join(version.split(".")[:2])
    if libpython() is None:
        library = f"libpython{short}.so.1.0"
        what = f"{sys.executable} (Python {version}) has no shared {library}, which the server's python backend links"
        return what, f"install it (Debian: apt install libpython{short}; pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared) or {take}"
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        what = f"{sys.executable} cannot make virtual environments: its modules venv and ensurepip are missing"
        return what, f"install them (Debian: apt install python{short}-venv) or {take}"
    return None


def stop(message: str, remedy: str) -> NoReturn:
    """Raise the ToolError that ends the set-up."""
    raise ToolError(message, remedy)
