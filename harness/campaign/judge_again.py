"""`hurdle judge`: a saved failure, or a run as a whole, judged again without a guest."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from harness.campaign.agreement import differ, judge_agreement
from harness.campaign.case import Case, is_case, load_case
from harness.campaign.judge import run_verdicts
from harness.campaign.lab import Lab
from harness.campaign.recoverers import Engine, Kept, Recoverer
from harness.campaign.reproducer import (
    FAILURE,
    LEFT,
    README,
    SCRIPT,
    Reproduction,
    expand,
    last_operations,
    load,
)
from harness.campaign.rows import cause_of
from harness.crash.plan import Cut
from harness.disk.copy import sparse_copy
from harness.doctor import require
from harness.errors import Exit, UsageError
from harness.rundir import scratch_base
from harness.terminal import Terminal
from harness.verdicts import Judgement, Oracle, Verdict


def judge_again(folder: Path, image: Path | None = None) -> Exit:
    """Judge the failure in `folder`, or the run whose folder it is, as a whole.

    `image` takes the crash state before recovery.  Exit code 1 when the oracle fails again, 0 when
    it doesn't, so `git bisect run` understands it.
    """
    require("e2fsck", "debugfs", "setpriv")
    console = Terminal(highlight=False, soft_wrap=True)
    if is_case(folder) and not (folder / FAILURE).is_file():
        if image is not None:
            raise UsageError(f"{folder} is a run, no crash state", hint="leave out --image")
        return _run(folder, console)
    with _scratch() as scratch:
        case, source, cut, said = load(folder, scratch)
        with Lab(source, scratch) as lab:
            row = lab.row(cut)
            judgements = row.judgements
            if said.oracle == Oracle.AGREEMENT:
                judgements += (_agreement(folder, case, lab.tree(cut), cut, said, scratch),)
            if image is not None:
                sparse_copy(lab.image(cut), image)
                console.print(f"wrote {image}: the state before recovery", markup=False)
    console.print(f"{row.case}, {row.id}", markup=False, style="bold")
    console.print("\n".join(last_operations(case, said)), markup=False)
    _show(console, judgements)
    (judged,) = (each for each in judgements if each.oracle.value == said.oracle)
    if judged.verdict is not Verdict.FAIL:
        console.print(f"not reproduced: {said.oracle} found {said.cause} then", markup=False)
        return Exit.OK
    same = cause_of(judged) == said.cause
    words = "reproduced" if same else f"fails for another cause than {said.cause}"
    console.print(f"{words}: {said.oracle}, {cause_of(judged)}", markup=False)
    show = shlex.quote(str(folder / SCRIPT))
    console.print(f"look at the damage: {show}; more: {folder / README}", markup=False)
    return Exit.UNEXPECTED


def _run(folder: Path, console: Console) -> Exit:
    """What the oracles of whole runs say of one, from its log and its end."""
    case = load_case(folder)
    judgements = run_verdicts(case)
    console.print(f"{case.name}, the run as a whole", markup=False, style="bold")
    _show(console, judgements)
    failed = any(each.verdict is Verdict.FAIL for each in judgements)
    return Exit.UNEXPECTED if failed else Exit.OK


def _agreement(
    folder: Path, case: Case, tree: str, cut: Cut, said: Reproduction, scratch: Path
) -> Judgement:
    """The other recoverer against e2fsck: our journal runs again, of Linux the image was kept."""
    recoverer: Recoverer
    if said.recoverer == Engine.name and case.journal_map is not None:
        recoverer = Engine(case.journal_map, scratch)
    else:
        expand(folder / LEFT, scratch / "left.raw")
        recoverer = Kept(said.recoverer, scratch / "left.raw", said.refused)
    found = differ(case, [(cut.id, tree)], recoverer, scratch)
    return judge_agreement([(recoverer.name, 1, found)])


def _show(console: Console, judgements: Sequence[Judgement]) -> None:
    for each in judgements:
        color = {Verdict.PASS: "green", Verdict.FAIL: "red"}.get(each.verdict, "yellow")
        console.print(f"[{color}]{each.verdict:5}[/{color}] {each.oracle:11}", end="")
        console.print(each.reason, markup=False)


@contextmanager
def _scratch() -> Iterator[Path]:
    base = scratch_base()
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="judge-", dir=base) as name:
        yield Path(name)
