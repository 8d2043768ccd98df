"""A failure in a folder: all that is needed to judge it again, and to look at it, without a guest.

base.raw.gz     the disk before the log
writes.log      the write log, up to the entry that the failure needs
state.raw.gz    the crash state itself, before recovery
case.json       workload, op journal, versions
failure.json    the state, the oracle that failed, expected and found
left.raw.gz     what another recoverer left of it, where recoverers differ
show.sh         shows the damage with debugfs, without hurdle
README.md       what happened, in words
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.campaign.case import Case, known, load_case
from harness.campaign.lab import Source
from harness.crash.plan import Cut, parse
from harness.crash.writelog import WriteLog, pack_log
from harness.disk.copy import host_errors, sparse_copy
from harness.errors import UsageError
from harness.report.atomic import write_atomically
from harness.verdicts import CrashModel, Judgement

FAILURE = "failure.json"
LEFT = "left.raw.gz"
SCRIPT = "show.sh"
README = "README.md"
_FORMAT = 1  #: of failure.json; what was written before formats had numbers is 0
_CHUNK = 1 << 20
_OPERATIONS = 12  # that are shown of a workload


@dataclass(frozen=True)
class Reproduction:
    """What a folder says: the state, and what an oracle found.

    `parent` is the state whose recovery was cut off, where `model` is recovery: base and log are
    then those of recovery.  Where it is kill, base is the disk as the kill left it.  `recoverer`
    left another tree than e2fsck, and `refused` is what it said where it did not recover at all.
    """

    state: str
    parent: str | None
    model: str
    oracle: str
    cause: str
    expected: str
    found: str
    reason: str
    seed: int
    campaign: str
    recoverer: str = ""
    refused: str = ""


def save(
    folder: Path,
    case: Case,
    source: Source,
    cut: Cut,
    state: Path,
    said: Reproduction,
    judgement: Judgement,
    left: Path | None = None,
) -> None:
    """Write the folder.  `state` is an image of the crash state before recovery, `left` what
    another recoverer made of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base = source.base or case.base
    log = case.log if source.log is None else WriteLog.read(source.log, base.stat().st_size)
    _compress(base, folder / "base.raw.gz")
    _compress(state, folder / "state.raw.gz")
    if left is not None:
        _compress(left, folder / LEFT)
    write_atomically(folder / "writes.log", pack_log(log, log.entries[: cut.upto]))
    moved = replace(case, base=folder / "base.raw", log_path=folder / "writes.log")
    moved.save()
    plain = {"format": _FORMAT, **asdict(said)}
    write_atomically(folder / FAILURE, json.dumps(plain, indent=1).encode())
    write_atomically(folder / SCRIPT, _script(_paths(judgement)).encode())
    (folder / SCRIPT).chmod(0o755)
    # The last: a folder that has it is whole, and stays as it is when a campaign goes on.
    write_atomically(folder / README, _readme(case, cut, said, judgement).encode())


@dataclass(frozen=True)
class Example:
    """A saved failure in short; `operations` is how many had begun, and how many there are."""

    state: str
    reason: str
    operations: tuple[int, int]


def example_of(folder: Path) -> Example | None:
    """What a folder holds; None where no failure was saved to the end."""
    if not (folder / README).is_file():
        return None
    said, case = _said(folder / FAILURE), load_case(folder)
    name = f"{said.model}:{said.parent}~{said.state}" if said.parent else said.state
    begun = case.work.last_begun(_position(said))
    return Example(name, said.reason, (begun + 1, len(case.work.names)))


def _position(said: Reproduction) -> int:
    """Up to where in the run's log the operations may have had an effect."""
    return parse(said.parent or said.state).upto


def load(folder: Path, scratch: Path) -> tuple[Case, Source, Cut, Reproduction]:
    """Read a folder; the base image is unpacked into `scratch`.

    Raises `UsageError` when the folder holds no failure.
    """
    path = folder / FAILURE
    if not path.is_file():
        raise UsageError(
            f"{folder} holds no failure of a campaign",
            hint="give one of the folders below `failures` in a campaign's results",
        )
    said = _said(path)
    base, log = scratch / "base.raw", scratch / "writes.log"
    expand(folder / "base.raw.gz", base)
    shutil.copyfile(folder / "writes.log", log)
    shutil.copyfile(folder / "case.json", scratch / "case.json")
    case = load_case(scratch)
    parent = parse(said.parent) if said.parent else None
    source = Source(scratch)
    if parent is not None:
        source = Source(scratch, parent, base, log, CrashModel(said.model))
    return case, source, parse(said.state), said


def _said(path: Path) -> Reproduction:
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        known(path, data.pop("format", 0), _FORMAT)
        if "model" not in data:  # before formats had numbers
            model = CrashModel.RECOVERY if data["parent"] else parse(data["state"]).model
            data["model"] = model.value
        return Reproduction(**data)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise UsageError(f"{path} can't be read: {exc}", hint="run the campaign again") from exc


def _compress(source: Path, target: Path) -> None:
    with (
        host_errors(target),
        source.open("rb") as reader,
        target.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as writer,
    ):
        shutil.copyfileobj(reader, writer, _CHUNK)


def expand(source: Path, target: Path) -> None:
    """Unpack; zeros become holes again."""
    dense = target.with_suffix(".dense")
    with host_errors(source), gzip.open(source, "rb") as reader, dense.open("wb") as writer:
        shutil.copyfileobj(reader, writer, _CHUNK)
    sparse_copy(dense, target)
    dense.unlink()


def _paths(judgement: Judgement) -> list[str]:
    """The paths that the findings name."""
    texts = [judgement.reason, *(finding.text for finding in judgement.findings)]
    found = [match for text in texts for match in re.findall(r"(?<![\w/])/([\w./-]+)", text)]
    return list(dict.fromkeys(path.rstrip(".") for path in found))[:8]


def _script(paths: Sequence[str]) -> str:
    stats = "".join(f'debugfs -R \'stat "/{path}"\' "$1" 2>&1 | head -n 12\n' for path in paths)
    return f"""#!/bin/sh
# Shows the state before and after recovery.  Needs e2fsprogs only; works on copies.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
gunzip -c state.raw.gz > "$work/state.raw"
cp --sparse=always "$work/state.raw" "$work/recovered.raw"

look () {{
echo "== $1: $2"
dumpe2fs -h "$1" 2>/dev/null | grep -E 'Filesystem (features|state)|Free blocks|Journal' || true
debugfs -R 'ls -l /' "$1" 2>&1
{stats}}}

cd "$work"
look state.raw "as the crash left it"
debugfs -R 'logdump -aOS' state.raw 2>&1 | head -n 40
echo "== e2fsck -p"
e2fsck -p recovered.raw || echo "exit code $?"
look recovered.raw "after e2fsck -p"
if [ -e "$OLDPWD/left.raw.gz" ]; then
gunzip -c "$OLDPWD/left.raw.gz" > left.raw
look left.raw "as another recoverer left it"
fi
echo "== e2fsck -f -n after it"
e2fsck -f -n recovered.raw || echo "exit code $?"
"""


def last_operations(case: Case, said: Reproduction) -> list[str]:
    """The last operations that had begun, a line for each."""
    begun = list(enumerate(case.work.words))[: case.work.last_begun(_position(said)) + 1]
    return [f"{number:4d}  {word}" for number, word in begun[-_OPERATIONS:]]


def _readme(case: Case, cut: Cut, said: Reproduction, judgement: Judgement) -> str:
    ops = "\n".join(last_operations(case, said))
    findings = "\n".join(f"- {each.code}: {each.text}" for each in judgement.findings[:8])
    versions = "\n".join(f"- {name}: {text}" for name, text in case.versions.items())
    where = (
        f"{said.model} of `{said.parent}`: `{said.state}`"
        if said.parent
        else (
            f"`{said.state}`: the first {cut.upto} entries of the log"
            + (f" without {len(cut.missing)} of its writes" if cut.missing else "")
            + (f", entry {cut.torn[0]} in part" if cut.torn else "")
        )
    )
    return f"""# {said.oracle} fails: {said.cause}

{said.reason}

- file system: {case.variant}, workload seed {case.seed}
- state: {where}
- expected: {said.expected}; found: {said.found}

Judge it again, without a guest:

    hurdle judge .

Look at the damage with debugfs, without hurdle:

    ./show.sh

## Findings

{findings}

## The last operations that had begun

{ops}

## Versions

{versions}
"""
