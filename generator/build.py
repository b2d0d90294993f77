"""Specs -> model repository: runs what is stale, writes what changed, and says what it did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from generator import carry, disk, engine_carry, learning, lock, plan_check, repository, run, versions
from generator.findings import Finding
from generator.folder import FolderModel
from generator.load import load_all
from generator.pipeline import Pipeline
from generator.plan import Step, export_step, folder_step, steps, why_stale
from generator.spec import Spec
from generator.versions import Versions

#: Told before and after each step: (step, "" before or what came of it after).
Progress = Callable[[Step, str], None]


@dataclass(frozen=True)
class Planned:
    """A pipeline with its steps, and for each what makes it stale ("" where it is fresh)."""

    pipeline: Pipeline | FolderModel
    steps: tuple[Step, ...]
    stale: tuple[str, ...]
    #: None for a folder, which brings its own versions.
    versions: Versions | None = None
    #: By model, the fields of its config that change under a version that is kept.
    shared: dict[str, list[str]] = field(default_factory=dict)
    #: What the server would accept and users regret.
    warnings: tuple[Finding, ...] = ()

    @property
    def fresh(self) -> bool:
        """Nothing to do."""
        return not any(self.stale)


def resolved(specs: Sequence[Path]) -> list[Pipeline | FolderModel]:
    """What the specs say, with everything derived. Raises SpecError."""
    return [
        learning.known(Pipeline(path, spec, variant=variant)) if isinstance(spec, Spec) else FolderModel(path, spec)
        for path, spec, variant in load_all(specs)
    ]


def plan(specs: Sequence[Path], output: Path, progress: Progress | None = None) -> list[Planned]:
    """What a build would do. Raises every error that can be known before work begins.

    It reads only; with `progress` checkpoints that do not say their inputs and outputs are exported for that, without it they are
    pending: their export is all that can be planned.
    """
    entries = lock.read(output)
    pipelines = resolved(specs)
    for each in pipelines:
        if isinstance(each, Pipeline) and not each.pending:
            each.target_fits()
    if progress is not None:
        pipelines = [learning.learn(each, progress) if isinstance(each, Pipeline) else each for each in pipelines]
    planned = []
    pipelines, waiting = _parted(pipelines)
    for each in pipelines:
        if isinstance(each, Pipeline):
            each.target_takes()
    warnings = plan_check.judge(pipelines, output)
    for pipeline in pipelines:
        if isinstance(pipeline, Pipeline) and pipeline.learned:
            pipeline.target_fits()
        entry = entries.get(pipeline.spec.name)
        item = _planned(pipeline, entry, output)
        if not item.fresh:
            versions.check(pipeline, entry, output)
            item = replace(item, shared=versions.shared(pipeline, entry, output))
        regrets = tuple(finding for finding in warnings if finding.model in repository.models(pipeline))
        planned.append(replace(item, versions=versions.of(pipeline, entry), warnings=regrets))
    repository.claim(output, entries, [name for p in pipelines for name in repository.models(p)])
    return planned + [Planned(p, (export_step(p),), ("not built yet; its inputs and outputs are known then",)) for p in waiting]


def _parted(
    pipelines: Sequence[Pipeline | FolderModel],
) -> tuple[list[Pipeline | FolderModel], list[Pipeline]]:
    """Those that can be planned, and those of which only the export can."""
    waiting = [p for p in pipelines if isinstance(p, Pipeline) and p.pending]
    return [p for p in pipelines if p not in waiting], waiting


def _planned(pipeline: Pipeline | FolderModel, entry: lock.Entry | None, output: Path) -> Planned:
    *graphs, written = (folder_step(pipeline),) if isinstance(pipeline, FolderModel) else steps(pipeline)
    before = entry.steps if entry else {}
    fresh = entry is not None and before.get(written.name) == written.parts and repository.whole(output, entry)
    if fresh:
        return Planned(pipeline, (*graphs, written), ("",) * (len(graphs) + 1))
    reasons = ["" if run.cached(step) else why_stale(step, before.get(step.name)) for step in graphs]
    last = why_stale(written, before.get(written.name))
    touched = "files of the repository are missing or were changed" if last == "its result is missing" else last
    return Planned(pipeline, (*graphs, written), (*reasons, touched))


def build(planned: Sequence[Planned], output: Path, progress: Progress) -> list[tuple[str, int, str]]:
    """Do what is stale. Returns a row a file: (path, bytes, created | updated | identical | retired).

    Until everything is staged the repository is not touched; each model folder is then exchanged in one rename.
    """
    assert not any(isinstance(p.pipeline, Pipeline) and p.pipeline.pending for p in planned), "plan it with `progress`"
    entries = lock.read(output)
    stale = [p for p in planned if not p.fresh]
    if not stale:
        return []
    disk.check([p.pipeline for p in stale if isinstance(p.pipeline, Pipeline) and run.cached(p.steps[0]) is None], output)
    results = {p.pipeline.spec.name: _graphs(p, progress) for p in stale}
    rows: list[tuple[str, int, str]] = []
    with repository.staging(output) as staged:
        retired: list[str] = []
        for item in stale:
            old = entries.get(item.pipeline.spec.name)
            entry = _stage(item, results[item.pipeline.spec.name], staged, progress)
            if isinstance(item.pipeline, Pipeline):
                kept = engine_carry.carried(output, staged, entry.models, item.pipeline.spec.serving.server)
                entry.files = dict(sorted({**entry.files, **kept}.items()))
            if old is not None:
                entry = _carried(item, old, entry, output, staged)
            retired += [name for name in (old.models if old else []) if name not in entry.models]
            rows += _rows(entry, old, staged)
            entries[item.pipeline.spec.name] = entry
        names = [name for item in stale for name in repository.models(item.pipeline)]
        repository.publish(staged, output, names, retired, entries)
    run.prune()
    return rows


def _graphs(item: Planned, progress: Progress) -> dict[str, Path]:
    """Every step before the repository: the folder of each, by its name. None for a model that is only copied."""
    folders: dict[str, Path] = {}
    for step in item.steps[:-1]:
        assert isinstance(item.pipeline, Pipeline)
        source = next(reversed(folders.values())) / "model.onnx" if folders else None
        known = run.cached(step) is not None
        progress(step, "")
        folders[step.name] = run.ensure(step, item.pipeline, source)
        progress(step, _said(step, run.facts(folders[step.name]), known))
    return folders


def _said(step: Step, facts: dict[str, str], cached: bool) -> str:
    """What a step did; each pass of the user's has a line of its own, also when it is only remembered."""
    said = learning.said(facts)
    if step.name == "passes":
        return "\n    ".join(["cached:" if cached else "", *said])
    return "cached" if cached else "; ".join(said)


def _stage(item: Planned, results: dict[str, Path], staged: Path, progress: Progress) -> lock.Entry:
    step = item.steps[-1]
    progress(step, "")
    if isinstance(item.pipeline, FolderModel):
        files, facts = repository.copy(item.pipeline, staged), {}
    else:
        files = repository.write(item.pipeline, results, staged)
        facts = run.facts(run.ensure(item.steps[0], item.pipeline))
    progress(step, f"{len(files)} files")
    made = {str(item.versions.written): item.steps[-2].key} if item.versions else {}
    return lock.Entry({s.name: s.parts for s in item.steps}, repository.models(item.pipeline), files, facts, made)


def _carried(item: Planned, old: lock.Entry, new: lock.Entry, output: Path, staged: Path) -> lock.Entry:
    """The entry with the versions that are kept, their folders beside the staged one; what did not change keeps its times."""
    kept = item.versions.kept if item.versions else ()
    files = {n: digest for n, digest in old.files.items() if lock.version(n) in kept and n.split("/")[0] in new.models}
    for name in files:
        carry.link(output / name, staged / name)
    if isinstance(item.pipeline, Pipeline) and item.pipeline.spec.preprocess is not None:
        for version in kept:
            (staged / item.pipeline.spec.name / str(version)).mkdir(exist_ok=True)  # an ensemble's versions hold no files
    carry.same(output, {name: old.files[name] for name in new.files if name in old.files}, staged)
    for name in new.models:
        carry.times(output / name, staged / name)
    made = {str(version): old.versions.get(str(version), "") for version in kept}
    return replace(new, files=dict(sorted({**new.files, **files}.items())), versions={**made, **new.versions})


def _rows(entry: lock.Entry, old: lock.Entry | None, staged: Path) -> list[tuple[str, int, str]]:
    rows = [(name, (staged / name).stat().st_size, _status(name, digest, old)) for name, digest in entry.files.items()]
    return rows + [(name, 0, "retired") for name in (old.files if old else ()) if name not in entry.files]


def _status(name: str, digest: str, old: lock.Entry | None) -> str:
    if old is None or name not in old.files:
        return "created"
    return "identical" if old.files[name] == digest else "updated"
