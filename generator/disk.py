"""Is there room for what a build will write? Asked before it begins, of checkpoints of gigabytes only."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from generator import paths
from generator.errors import RepositoryError
from generator.pipeline import Pipeline


def check(pipelines: Sequence[Pipeline], output: Path | None = None) -> None:
    """Raise RepositoryError where the cache's disk or that of `output` has no room.

    In the cache lies a copy as exported, and one more where `surgery:` may have changed weights; in the repository a third.
    """
    from generator import weights

    wanted: Counter[int] = Counter()
    folders: dict[int, Path] = {}
    for pipeline in pipelines:
        size = sum(file.stat().st_size for file in pipeline.spec.checkpoint.files())
        copies = [(paths.cache(), 2 if pipeline.spec.surgery else 1), *([(output, 1)] if output else [])]
        for folder, count in copies if size >= weights.LIMIT else ():
            there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
            folders.setdefault(there.stat().st_dev, there)
            wanted[there.stat().st_dev] += count * size
    for device, needed in wanted.items():
        free = shutil.disk_usage(folders[device]).free
        if needed > free:
            names = ", ".join(pipeline.spec.name for pipeline in pipelines)
            sizes = f"about {needed / 2**30:.1f} GiB there; {free / 2**30:.1f} GiB are free"
            raise RepositoryError(
                f"{folders[device]}: building {names} takes {sizes}",
                "make room, or name another place with -o or TRITON_REPO_CACHE",
            )
