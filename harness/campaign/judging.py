"""Everything that is done with the evidence of a run: states, crashes in recovery, reproducers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from harness.campaign.agreement import Difference, differ, judge_agreement, sample
from harness.campaign.case import Case
from harness.campaign.compare import Count, Line, compare
from harness.campaign.failures import judging, save_difference, save_failures
from harness.campaign.judge import judge_states, plan_contents, run_verdicts
from harness.campaign.lab import Content, Source
from harness.campaign.live import Live
from harness.campaign.recoverers import Engine, Linux, Recoverer
from harness.campaign.recovery import HONEST, chosen_parents, forget, recoveries
from harness.campaign.spec import Campaign
from harness.campaign.store import Store
from harness.crash.plan import Cut
from harness.crash.writelog import WriteLog
from harness.errors import InfraError
from harness.report.text import counted
from harness.rundir import RunDir
from harness.verdicts import CrashModel, Oracle, Verdict
from harness.workloads.journal import Ending

KILLED = "killed.raw"  #: the disk as the kill left it, beside a case's base


@dataclass(frozen=True)
class Judging:
    """How cases are judged; `workers` are the executor and how many it has.

    `guest` mounts states in the guest that made them; it is there if the campaign asks for it.
    """

    campaign: Campaign
    rundir: RunDir
    store: Store
    live: Live
    workers: tuple[Executor, int]
    guest: Recoverer | None = None

    def judge(self, case: Case) -> None:
        """Judge what is not judged yet of a case, and save an example of each failure.

        Raises `InfraError` when a tool or the host breaks, or when the crash proves nothing: no
        write of the workload is in the log, though no trial could have kept it from that.
        """
        outcome = case.outcome
        excused = outcome is not None and (outcome.failed or outcome.ending is Ending.CUT)
        if not excused and not case.wrote:
            raise InfraError(
                f"{case.name}: no write of the workload reached the log, so there is no crash",
                hint="let the workload write something: more operations, or a sync at their end; "
                "else look whether the crashed disk is the one that the guest mounts",
            )
        contents = self._planned(case)
        began = time.monotonic()
        killed = self._killed(case)
        self._states(case, [(Source(case.folder), contents), *killed])
        self._agreement(case)
        again = self._recoveries(case)
        self._states(case, again)
        self.store.add_seconds({"judging, wall": time.monotonic() - began})
        others = [source for source, _ in (*killed, *again)]
        self._save_failures(case, {source.name: source for source in others})
        for source, _ in again:
            forget(source)

    def found(self, variant: str) -> bool:
        """Whether a state or log of the variant failed that had to pass."""
        lines = campaign_lines(self.campaign, self.store, [variant])
        return any(line.found is Verdict.FAIL and not line.ok for line in lines)

    def _planned(self, case: Case) -> tuple[Content, ...]:
        with self.live.phase(f"{case.name}: planning states"):
            began = time.monotonic()
            cuts = tuple(case.plan(self.campaign).cuts())
            contents = plan_contents(case.base, case.log, cuts)
            self.store.add_seconds({"plan": time.monotonic() - began})
        self.store.add_case(case.name, case.variant, case.outline)
        self.store.set_planned(case.name, Counter(cut.model for cut in cuts))
        for judgement in run_verdicts(case):
            self.store.add_log_verdict(case.name, judgement)
        self.live.note(
            f"{case.name}: {len(case.log.writes)} writes, {len(case.log.flushes)} flushes, "
            f"{len(case.commits)} commits; {len(cuts)} states, {len(contents)} distinct"
        )
        return contents

    def _states(self, case: Case, work: Sequence[tuple[Source, Sequence[Content]]]) -> None:
        if not work:
            return
        kind = "states" if work[0][0].parent is None else "crashes in recovery"
        with self.live.states(f"{case.name}: {kind}") as report:
            judge_states(case, work, self.store, self.workers, self.rundir.scratch, report)

    def _killed(self, case: Case) -> list[tuple[Source, tuple[Content, ...]]]:
        """The disk as SIGKILL left it; none where lists shared it."""
        image = case.folder / KILLED
        if CrashModel.KILL not in self.campaign.models or not image.is_file():
            return []
        empty = self.rundir.scratch / "empty.log"
        empty.write_bytes(b"")
        log = WriteLog.read(empty, image.stat().st_size)
        end = Cut(CrashModel.PREFIX, len(case.log.entries))
        source = Source(case.folder, end, image, empty, CrashModel.KILL)
        self.store.set_planned(case.name, {CrashModel.KILL: 1})
        return [(source, plan_contents(image, log, [Cut(CrashModel.PREFIX, 0)]))]

    def _recoveries(self, case: Case) -> list[tuple[Source, tuple[Content, ...]]]:
        states = self.campaign.states
        parents = chosen_parents(self.store.replayed(case.name), states.recovery, states.seed)
        with self.live.phase(f"{case.name}: recovering {len(parents)} states, logged"):
            limits = replace(states.in_recovery, sector=self.campaign.disk.sector)
            work = list(recoveries(case, parents, limits, self.rundir))
        planned = sum(len(content.cuts) for _, contents in work for content in contents)
        self.store.set_planned(case.name, {CrashModel.RECOVERY: planned})
        return work

    def _agreement(self, case: Case) -> None:
        """Let other recoverers do a sample of states; once for a run."""
        states, journal = self.campaign.states, case.journal_map
        if Oracle.AGREEMENT not in self.campaign.run_oracles or any(
            said.oracle is Oracle.AGREEMENT for said in self.store.log_verdicts(case.name)
        ):
            return
        clean = [pair for pair in self.store.clean_replays(case.name) if pair[0].startswith(HONEST)]
        asked = []
        if journal is not None:
            # Debian's kernel has one driver for ext3 and ext4, by the name of either.
            recoverers: list[tuple[Recoverer, int]] = [
                (Engine(journal, self.rundir.scratch), states.engine),
                (Linux("ext4", self.rundir), states.linux),
            ]
            if self.guest is not None:
                recoverers.append((self.guest, states.guest))
            for recoverer, count in recoverers:
                chosen = sample(clean, count, states.seed)
                if chosen:
                    found = self._differ(case, chosen, recoverer)
                    asked.append((recoverer.name, len(chosen), found))
        self.store.add_log_verdict(case.name, judge_agreement(asked))

    def _differ(
        self, case: Case, states: Sequence[tuple[str, str]], recoverer: Recoverer
    ) -> tuple[Difference, ...]:
        """What a recoverer leaves otherwise than e2fsck; the first one is saved."""
        scratch, left = self.rundir.scratch, self.rundir.scratch / "left.raw"
        with self.live.phase(f"{case.name}: {recoverer.name}, {len(states)} states"):
            found = differ(case, states, recoverer, scratch, left)
        if found:
            out = self.rundir.out
            folder = save_difference(self.campaign, case, found[0], left, out, scratch)
            self.live.note(f"{case.name}: {recoverer.name} and e2fsck differ: {judging(folder)}")
        left.unlink(missing_ok=True)
        return found

    def _save_failures(self, case: Case, sources: dict[str, Source]) -> None:
        with self.live.phase(f"{case.name}: making failures small"):
            unexpected = save_failures(
                self.campaign, case, self.store, sources, self.rundir.out, self.rundir.scratch
            )
        if unexpected:
            more = f" ({counted(len(unexpected) - 1, 'more cause')})" * bool(unexpected[1:])
            self.live.note(f"{case.name}: UNEXPECTED: {judging(unexpected[0])}{more}")


def campaign_lines(campaign: Campaign, store: Store, variants: Iterable[str]) -> list[Line]:
    """What was found against what was expected, for every variant."""
    lines = []
    counts = store.counts()
    for variant in variants:
        own: list[Count] = []
        planned: Counter[CrashModel] = Counter()
        missed: list[str] = []
        for name in (case for case, of in store.cases() if of == variant):
            own += [count for count in counts if count[0] == name]
            planned.update(store.planned(name))
            for said in store.log_verdicts(name):
                own.append((name, CrashModel.PREFIX, said.oracle, said.verdict, 1))
                if said.oracle is Oracle.LANDED and said.verdict is Verdict.VOID:
                    missed.append(f"{name}: {said.reason}")
        for line in compare(campaign, variant, own, planned):
            why = "; ".join(missed) if line.oracle is Oracle.LANDED else ""
            lines.append(replace(line, note=line.note or why))
    return lines
