"""Runs stages: each once for one content of its inputs, resumed after an interruption.

Layout below the workshop's folder:

    stages/NAME/KEY/out        the result: tools/ for later stages, root/ for the guest
    stages/NAME/KEY/done.json  written last: a folder without it is unfinished
    stages/NAME/KEY/log.txt    every command and what it said
    stages/NAME/KEY/work       the build folder, removed when the stage is done and nobody needs it
    stages/NAME/tree-KEY       the build folder of an incremental stage, which outlives its results
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import InfraError
from harness.images.source.fetch import Fetcher, Identity
from harness.images.source.stage import Stage, Step, digest_text, matches, tree_digest, tree_files
from harness.locked import locked
from harness.process import Service, describe_exit, tail

_STEP_SECONDS = 7200.0
_GONE = ".gone-"
_KEEP = 4  # results of one stage that stay: a developer goes back and forth between a few edits


@dataclass(frozen=True)
class Result:
    """What a stage left.  `seconds` is what it took when it ran; `cached` if that was before."""

    name: str
    out: Path
    work: Path
    digest: str
    version: str
    seconds: float
    cached: bool


class Workshop:
    """Builds stages below `folder` with `jobs` parallel jobs; `say` hears of each stage."""

    def __init__(
        self, folder: Path, fetcher: Fetcher, *, jobs: int, say: Callable[[str], None]
    ) -> None:
        self._stages = folder / "stages"
        self._lock = folder / "lock"
        self._fetcher = fetcher
        self._jobs = jobs
        self._say = say

    def build(
        self, stages: Sequence[Stage], have: Mapping[str, Result] | None = None
    ) -> dict[str, Result]:
        """The results of `stages`, which are in an order in which each finds what it needs.

        `have` are results of another workshop, which stages may need as well.  A source that is
        not there is told before anything is built.
        """
        results = dict(have or {})
        self._stages.mkdir(parents=True, exist_ok=True)
        with locked(self._lock, "another hurdle builds here", self._say):
            for source in (stage.source for stage in stages if stage.source):
                self._fetcher.check(source)
            for stage in stages:
                results[stage.name] = self._build(stage, results)
        return results

    def fetch(self, stages: Sequence[Stage]) -> None:
        """Bring the sources of all stages here, without building."""
        self._stages.mkdir(parents=True, exist_ok=True)
        with locked(self._lock, "another hurdle builds here", self._say):
            for stage in stages:
                if stage.source:
                    self._say(f"{stage.name} {self._fetcher.fetch(stage.source).version}")

    def latest(self, names: Sequence[str]) -> dict[str, Result]:
        """The results of these stages that were made or used last; without those that have none."""
        found = {}
        for name in names:
            places = [done.parent for done in (self._stages / name).glob("*/done.json")]
            if places:
                place = max(places, key=lambda path: path.stat().st_mtime)
                found[name] = _kept(name, place, place / "work")
        return found

    def _build(self, stage: Stage, results: Mapping[str, Result]) -> Result:
        identity = Identity("", "")
        if stage.source:
            identity = self._fetcher.identify(stage.source, stage.exclude)
        needed = [results[name].digest for name in stage.needs]
        plan = digest_text(repr(replace(stage, source=None)), *needed)
        key = digest_text(plan, identity.digest)[:16]
        place = self._stages / stage.name / key
        work = self._work_folder(stage, place, plan)
        done = place / "done.json"
        if done.exists():
            os.utime(place)
            return replace(_kept(stage.name, place, work), version=identity.version)
        self._say(f"{stage.name} {identity.version}".rstrip())
        began = time.monotonic()
        _Run(stage, self._fetcher, place, work, self._jobs, results).execute()
        digest = tree_digest(place / "out")
        seconds = round(time.monotonic() - began, 1)
        _write(done, {"digest": digest, "seconds": seconds, "version": identity.version})
        if not stage.keep_work and not stage.incremental:
            discard(work)
        self._say(f"{stage.name} done in {seconds} s")
        self._prune(place.parent)
        return Result(stage.name, place / "out", work, digest, identity.version, seconds, False)

    def _work_folder(self, stage: Stage, place: Path, plan: str) -> Path:
        if not stage.incremental:
            return place / "work"
        assert stage.source
        rest = self._fetcher.identify(stage.source, (*stage.exclude, *stage.incremental)).digest
        return place.parent / f"tree-{digest_text(plan, rest)[:16]}"

    def _prune(self, folder: Path) -> None:
        """Remove a stage's oldest results and build folders."""
        for pattern in ("tree-*", "[0-9a-f]*"):
            found = sorted(folder.glob(pattern), key=lambda p: p.stat().st_mtime, reverse=True)
            for old in found[_KEEP:]:
                discard(old)
        for left in (*folder.glob(f"{_GONE}*"), *folder.glob(f"*/{_GONE}*")):
            shutil.rmtree(left)


def _kept(name: str, place: Path, work: Path) -> Result:
    """A result from before."""
    said = json.loads((place / "done.json").read_text())
    return Result(
        name, place / "out", work, said["digest"], said["version"], said["seconds"], cached=True
    )


class _Run:
    """One run of one stage."""

    def __init__(
        self,
        stage: Stage,
        fetcher: Fetcher,
        place: Path,
        work: Path,
        jobs: int,
        results: Mapping[str, Result],
    ) -> None:
        self._stage = stage
        self._fetcher = fetcher
        self._work = work
        self._out = place / "out"
        self._log = place / "log.txt"
        self._tools = work / "tools"
        self._inputs = [results[name].out / "tools" for name in stage.needs]
        self._names = {
            "src": str(work / "src"),
            "work": str(work / "build"),
            "out": str(self._out),
            "tools": str(self._tools),
            "jobs": str(jobs),
            **{f"work:{name}": str(results[name].work / "build") for name in stage.needs},
            **{f"src:{name}": str(results[name].work / "src") for name in stage.needs},
            **{f"out:{name}": str(results[name].out) for name in stage.needs},
        }

    def execute(self) -> None:
        """Unpack, edit and run the steps; `InfraError` names stage, command and log."""
        shutil.rmtree(self._out, ignore_errors=True)
        self._out.mkdir(parents=True)
        (self._work / "build").mkdir(parents=True, exist_ok=True)
        if not self._tools.exists():
            union(self._inputs, self._tools)
        self._provide_source()
        for step in self._stage.steps:
            stamp = self._work / f"done-{step.name}"
            if not (step.once and stamp.exists()):
                self._run(step)
                stamp.touch()

    def _provide_source(self) -> None:
        source = self._stage.source
        target = self._work / "src"
        if source is None or (target.exists() and not self._stage.incremental):
            return
        fresh = self._work / "src.new"
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            self._fetcher.unpack(source, fresh, self._stage.exclude)
            for edit in self._stage.edits:
                edit.apply(fresh)
        except InfraError as exc:
            raise InfraError(f"stage {self._stage.name}: {exc}", hint=exc.hint) from exc
        if target.exists():
            update_tree(fresh, target, self._stage.incremental)
            shutil.rmtree(fresh)
        else:
            fresh.rename(target)

    def _fill(self, text: str) -> str:
        for name, value in self._names.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def _run(self, step: Step) -> None:
        command = self._fill(step.command)
        env = {"LC_ALL": "C", **self._stage.env}
        path = f"{self._tools}/bin:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        assigned = [f"{k}={self._fill(v)}" for k, v in env.items()]
        argv = ["env", "-C", self._fill(step.cwd), f"PATH={path}", *assigned, "sh", "-ec", command]
        with self._log.open("a") as log:
            log.write(f"\n### {step.name}\n{shlex.join(argv)}\n")
        said_before = self._log.stat().st_size
        with Service(argv, log=self._log, family=True) as child:
            status = child.wait(_STEP_SECONDS)
        if status == 0:
            return
        how = f"no end within {_STEP_SECONDS:.0f} s" if status is None else describe_exit(status)
        with self._log.open(errors="replace") as log:
            log.seek(said_before)
            said = tail(log.read())
        raise InfraError(
            f"stage {self._stage.name}, step {step.name}: {how}\n{said}\ncommand: {command}",
            hint=f"the whole log is {self._log}; the same command again goes on from this step",
        )


def discard(folder: Path) -> None:
    """Remove a folder: away from its name first, so that nobody ever goes on from half of one."""
    gone = folder.with_name(f"{_GONE}{folder.name}")
    shutil.rmtree(gone, ignore_errors=True)  # of a removal that was interrupted
    folder.rename(gone)
    shutil.rmtree(gone)


def union(inputs: Sequence[Path], target: Path) -> None:
    """Make `target` hold all files of `inputs`, as hard links; a later input wins."""
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for root in inputs:
        for path in tree_files(root) if root.exists() else ():
            link = part / path.relative_to(root)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            os.link(path, link, follow_symlinks=False)
    part.rename(target)


def update_tree(fresh: Path, target: Path, patterns: Sequence[str]) -> None:
    """Make the files of `target` that fit `patterns` equal to those of `fresh`.

    A file with the same content keeps its time, so `make` sees only what was edited.
    """
    wanted = {p.relative_to(fresh) for p in tree_files(fresh) if matches(p, patterns)}
    for path in tree_files(target):
        if matches(path, patterns) and path.relative_to(target) not in wanted:
            path.unlink()
    for name in wanted:
        new, old = fresh / name, target / name
        if not old.exists() or old.read_bytes() != new.read_bytes():
            old.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(new, old)


def _write(path: Path, data: Mapping[str, object]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(data, indent=1) + "\n")
    part.rename(path)
