"""`hurdle judge`: a saved failure, judged again without a guest."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from harness.campaign.lab import Lab
from harness.campaign.reproducer import load
from harness.campaign.store import cause_of
from harness.disk.copy import sparse_copy
from harness.doctor import require
from harness.errors import Exit
from harness.rundir import scratch_base
from harness.verdicts import Verdict


def judge_again(folder: Path, image: Path | None = None) -> Exit:
    """Judge the failure in `folder`; `image` takes the crash state before recovery.

    Exit code 1 when the oracle fails again, 0 when it doesn't, so `git bisect run` understands it.
    """
    require("e2fsck", "debugfs", "setpriv")
    console = Console(highlight=False, soft_wrap=True)
    base = scratch_base()
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="judge-", dir=base) as name:
        scratch = Path(name)
        _, source, cut, said = load(folder, scratch)
        with Lab(source, scratch) as lab:
            row = lab.row(cut)
            if image is not None:
                sparse_copy(lab.image(cut), image)
                console.print(f"wrote {image}: the state before recovery", markup=False)
    console.print(f"{row.case}, {row.id}", markup=False, style="bold")
    for each in row.judgements:
        color = {Verdict.PASS: "green", Verdict.FAIL: "red"}.get(each.verdict, "yellow")
        console.print(f"[{color}]{each.verdict:5}[/{color}] {each.oracle:11}", end="")
        console.print(each.reason, markup=False)
    (judged,) = (each for each in row.judgements if each.oracle.value == said.oracle)
    if judged.verdict is not Verdict.FAIL:
        console.print(f"not reproduced: {said.oracle} found {said.cause} then", markup=False)
        return Exit.OK
    same = cause_of(judged) == said.cause
    words = "reproduced" if same else f"fails for another cause than {said.cause}"
    console.print(f"{words}: {said.oracle}, {cause_of(judged)}", markup=False)
    return Exit.UNEXPECTED
