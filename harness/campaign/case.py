"""A case: one run of one variant, as files that can be judged at any time without a guest."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.campaign.rows import LogOutline
from harness.campaign.spec import Campaign
from harness.campaign.work import Work, work_of
from harness.crash.plan import Plan
from harness.crash.writelog import WriteLog
from harness.disk import ext2
from harness.disk.jbd2 import JournalMap, commits_in, journal_map
from harness.errors import InfraError, UsageError
from harness.oracles.acknowledged import Strictness
from harness.report.atomic import write_atomically
from harness.workloads.journal import Ending, Outcome

_FILE = "case.json"
_FORMAT = 2  #: of case.json; 1 did not say whether a trial landed, and the first had no number


@dataclass(frozen=True)
class Case:
    """What a run left, and what is asked of it.

    `begin` is the position of the log from which on the workload's writes are; what is before it
    was settled.  `driver_flushes` is None where nobody knows whether the guest can flush.
    """

    name: str
    variant: str
    seed: int
    base: Path
    log_path: Path
    work: Work
    begin: int
    strictness: Strictness
    driver_flushes: bool | None
    versions: dict[str, str]
    outcome: Outcome | None = None  #: how the run went; None where nobody watched

    @property
    def folder(self) -> Path:
        return self.base.parent

    @cached_property
    def log(self) -> WriteLog:
        return WriteLog.read(self.log_path, self.base.stat().st_size)

    @property
    def wrote(self) -> bool:
        """Whether the log has a write of the workload."""
        return any(entry.is_write for entry in self.log.entries[self.begin :])

    @cached_property
    def journal_map(self) -> JournalMap | None:
        """Where the file system's journal is; None where it has none."""
        if not ext2.superblock(self.base).has_journal:
            return None
        return journal_map(self.base)

    @cached_property
    def commits(self) -> tuple[tuple[int, int], ...]:
        """The commit blocks: entry of the log, transaction."""
        return commits_in(self.log, self.journal_map) if self.journal_map else ()

    @cached_property
    def outline(self) -> LogOutline:
        return LogOutline(
            entries=len(self.log.entries),
            begin=self.begin,
            writes=len(self.log.writes),
            flushes=tuple(entry.index for entry in self.log.flushes),
            commits=tuple(entry for entry, _ in self.commits),
            steps=self.work.names,
            begun=self.work.begun,
        )

    def plan(self, campaign: Campaign) -> Plan:
        """The states of its log.

        A driver that can't flush makes every order of writes possible on any file system, so
        states that differ in their order would say nothing of this one: there are none.
        """
        # The journal's superblock says where the log begins.
        tail = self.journal_map.superblock_offset if self.journal_map else None
        limits = replace(campaign.states.limits, sector=campaign.disk.sector, always=tail)
        if not self.log.flushes and not self.driver_flushes:
            limits = replace(limits, subsets=0, overlap=0, lying=0)
        return Plan(self.log, limits, self.begin)

    def save(self) -> None:
        """Write case.json beside the image: the case is complete when it is there."""
        data: dict[str, Any] = {
            "format": _FORMAT,
            "name": self.name,
            "variant": self.variant,
            "seed": self.seed,
            "base": self.base.name,
            "log": self.log_path.name,
            "work": self.work.plain(),
            "begin": self.begin,
            "strictness": self.strictness.value,
            "driver_flushes": self.driver_flushes,
            "versions": self.versions,
            "outcome": asdict(self.outcome) if self.outcome else None,
        }
        write_atomically(self.folder / _FILE, json.dumps(data, indent=1).encode())


def _outcome(data: dict[str, Any] | None) -> Outcome | None:
    return Outcome(**{**data, "ending": Ending(data["ending"])}) if data else None


def known(path: Path, version: int, newest: int) -> None:
    """Raise `UsageError` when a file is of a format that only a later hurdle knows."""
    if version > newest:
        raise UsageError(
            f"{path} is of format {version}, and this hurdle knows those up to {newest}",
            hint="judge it with the hurdle that wrote it, or a later one",
        )


def _today(path: Path, data: dict[str, Any]) -> dict[str, Any]:
    """What case.json says, in today's format."""
    version = data.get("format", 0)
    known(path, version, _FORMAT)
    if version < 1 and "work" not in data:  # steps were the only kind of work, on the control
        steps = {name: data[name] for name in ("setup", "steps", "journal")}
        return {**data, "work": {"kind": "steps", "hurd": False, **steps}}
    return data


def is_case(folder: Path) -> bool:
    """Whether a folder holds a case that was saved."""
    return (folder / _FILE).is_file()


def load_case(folder: Path) -> Case:
    """The case of a folder.  Raises `InfraError` when it is damaged."""
    path = folder / _FILE
    try:
        data = _today(path, json.loads(path.read_text()))
        return Case(
            name=data["name"],
            variant=data["variant"],
            seed=data["seed"],
            base=folder / data["base"],
            log_path=folder / data["log"],
            work=work_of(data["work"]),
            begin=data["begin"],
            strictness=Strictness(data["strictness"]),
            driver_flushes=data["driver_flushes"],
            versions=data["versions"],
            outcome=_outcome(data.get("outcome")),
        )
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise InfraError(f"{path} is no case: {exc}", hint="run the campaign again") from exc
