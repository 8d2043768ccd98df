"""e2fsck, run and understood: every message becomes a finding with a name.

What e2fsck prints is read with the rules of `fsck_rules.py`.  In preen mode it mends bitmaps
without a word, so each run also keeps e2fsck's problem log (`problem_log_filename` of e2fsck.conf),
which names every problem by its number, mentioned or not.  A message or number that no rule knows
is the finding `unrecognised` and counts as damage: nothing passes because it is new.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.disk.copy import host_errors
from harness.disk.fsck_rules import NOISE, PROBLEMS, RULES, UNNUMBERED
from harness.errors import InfraError
from harness.process import run
from harness.verdicts import Finding, FindingClass

UNRECOGNISED = "unrecognised"
_OPERATIONAL = 8  # e2fsck's exit code for "could not do it"; it may not have begun
# What the C library says of the host's own errors; an image can't cause them.
_HOST_TROUBLE = re.compile("No space left on device|Input/output error|Cannot allocate memory")
# libext2fs names the program where e2fsck names the device.
_PROGRAM = re.compile(r"^(?:/\S*/)?e2fsck: (?!aborted)")
# The question and its answer behind a message: "...  Clear? no"
_ANSWER = re.compile(r"(?<=[.)])\s+[A-Z][A-Za-z /+-]{1,40}\? (?:yes|no)$")
_TIMEOUT = 300.0  # s; a state takes milliseconds, a 1 GiB file system under load some seconds


class Mode(StrEnum):
    """The ways in which e2fsck is run.  Each is its command line's options."""

    BOOT = "-p"  #: what an unattended boot runs
    REPLAY = "-p -E journal_only"  #: replay the journal, nothing else
    CHECK = "-f -n"  #: full check, read-only
    THROUGH = "-f -p"  #: the boot, and then a full check even if the file system looks clean


@dataclass(frozen=True)
class FsckRun:
    """One run of e2fsck.

    `clean` says that it looked at the superblock only and called the file system clean; `command`
    can be pasted in the image's folder.
    """

    mode: Mode
    rc: int
    text: str
    findings: tuple[Finding, ...]
    clean: bool
    seconds: float
    command: str

    @property
    def damage(self) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.kind is FindingClass.DAMAGE)

    def has(self, code: str) -> bool:
        return any(each.code == code for each in self.findings)


def e2fsck(image: Path, mode: Mode, *, label: str = "") -> FsckRun:
    """Run e2fsck on an image, which every mode but CHECK may change: give it a copy.

    `label` is the volume's, with which e2fsck begins its lines if there is one.
    Raises `InfraError` when e2fsck is missing, killed, too slow or too old to keep a problem log,
    or when the host's disk fills up under it.
    """
    config, problems = image.with_suffix(".e2fsck.conf"), image.with_suffix(".problems.xml")
    with host_errors(config):
        config.write_text(f"[options]\nproblem_log_filename = {problems.name}\n")
        problems.unlink(missing_ok=True)
    argv = ["e2fsck", *mode.value.split(), image.name]
    environment = {"E2FSCK_CONFIG": str(config.absolute())}
    done = run(argv, cwd=image.parent, ok=None, env=environment, timeout=_TIMEOUT)
    text = "\n".join(part for part in (done.stdout.strip(), _stderr(done.stderr)) if part)
    blame_host(text, image)
    names = [name for name in (image.name, label) if name]
    numbers = problem_numbers(problems, done.returncode)
    findings = understand(mode, done.returncode, text, numbers, names)
    clean = any(_without_name(line, names).startswith("clean, ") for line in text.splitlines())
    command = " ".join(["e2fsck", *argv[1:]])
    return FsckRun(mode, done.returncode, text, findings, clean, done.seconds, command)


def understand(
    mode: Mode, rc: int, text: str, numbers: Sequence[int], names: Sequence[str]
) -> tuple[Finding, ...]:
    """All that a run found: what it said, and what only its problem log has.  Pure."""
    findings = parse(text, names)
    if mode is not Mode.CHECK:  # that one says all that it finds
        findings += _silent(numbers, findings)
    if not findings and rc & ~3:
        findings += (Finding(UNRECOGNISED, FindingClass.DAMAGE, f"rc {rc}: {text}"),)
    return findings


def blame_host(text: str, image: Path) -> None:
    """`InfraError` when e2fsck failed for want of the host: that says nothing of the image."""
    trouble = _HOST_TROUBLE.search(text)
    if trouble:
        raise InfraError(
            f"the host failed while e2fsck worked on {image}: {trouble[0]}",
            hint=f"free space below {image.parent}, or set HURDLE_SCRATCH to another folder",
        )


def parse(text: str, names: Sequence[str] = ()) -> tuple[Finding, ...]:
    """The findings in e2fsck's output.  `names` are what lines may begin with: device and label."""
    found: list[Finding] = []
    for message in _messages(text, names):
        if any(pattern.search(message) for pattern in NOISE):
            continue
        for code, kind, pattern in RULES:
            if pattern.search(message):
                found.append(Finding(code, kind, message))
                break
        else:
            found.append(Finding(UNRECOGNISED, FindingClass.DAMAGE, message))
    return tuple(found)


def _messages(text: str, names: Sequence[str]) -> list[str]:
    """The messages, each on one line: e2fsck indents what continues a line."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        if line[0] in "\t " and lines:
            lines[-1] += " " + line.strip()
        else:
            lines.append(_without_name(line, names).strip())
    return [_ANSWER.sub("", line) for line in lines if line]


def _without_name(line: str, names: Sequence[str]) -> str:
    line = _PROGRAM.sub("", line)
    for name in names:
        if line.startswith(f"{name}: "):
            return line[len(name) + 2 :]
        if line.startswith((f"{name} was ", f"{name} contains ", f"{name} has ")):
            return line[len(name) + 1 :]
    return line


def _stderr(text: str) -> str:
    """stderr without the version that e2fsck always prints there."""
    return re.sub(r"^e2fsck 1\.\d+.*\n?", "", text).strip()


def problem_numbers(path: Path, rc: int) -> tuple[int, ...]:
    """The numbers in the problem log, in order; e2fsck leaves out the end when it gives up."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError as exc:
        if rc >= _OPERATIONAL:
            return ()
        raise InfraError(
            "this e2fsck keeps no problem log, so silent repairs would go unseen",
            hint="install e2fsprogs 1.47 or newer",
        ) from exc
    return tuple(int(code, 16) for code in re.findall(r'<problem code="0x([0-9a-f]+)"', text))


def _silent(numbers: Sequence[int], said: Sequence[Finding]) -> tuple[Finding, ...]:
    """Findings for the problems that e2fsck met and did not mention.

    A number without a name is mentioned if there is a message left that no other number explains.
    """
    named = {code for code, _ in PROBLEMS.values()}
    mentioned = {finding.code for finding in said}
    spare = sum(finding.code not in UNNUMBERED | named for finding in said)
    found: dict[str, Finding] = {}
    for number in numbers:
        text = f"mended without a message (problem 0x{number:06x})"
        if number in PROBLEMS:
            code, kind = PROBLEMS[number]
            if code not in mentioned:
                found.setdefault(code, Finding(code, kind, text))
        elif spare:
            spare -= 1
        else:
            found.setdefault(UNRECOGNISED, Finding(UNRECOGNISED, FindingClass.DAMAGE, text))
    return tuple(found.values())
