"""The words in which hurdle judges; every later room uses these and no others."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What an oracle says of a crash state."""

    PASS = "PASS"
    FAIL = "FAIL"
    VOID = "VOID"  #: the fault did not land, or there was nothing to recover: proves nothing
    INFRA = "INFRA"  #: QEMU, the host or a tool broke: says nothing about the file system


class Expectation(StrEnum):
    """What a scenario expects an oracle to say.

    `any` is for a file system that promises nothing: the order of its writes decides, and either
    PASS or FAIL is no surprise.  VOID and INFRA always are, unless VOID is what is expected.
    """

    PASS = "PASS"
    FAIL = "FAIL"
    VOID = "VOID"
    ANY = "any"

    def allows(self, found: Verdict) -> bool:
        if self is Expectation.ANY:
            return found in (Verdict.PASS, Verdict.FAIL)
        return self.value == found.value


class CrashModel(StrEnum):
    """How a crash state came about; every figure in a report names its model."""

    KILL = "kill"  #: the disk as SIGKILL of QEMU left it; no completed write is ever lost
    PREFIX = "prefix"  #: base image plus the first N writes of the log
    CUT = "cut"  #: one prefix that the scenario asked for by number
    SUBSET = "subset"  #: a prefix without some of the writes since the last flush
    TORN = "torn"  #: a prefix or subset, of which one write reached the disk in part
    OVERLAP = "overlap"  #: as subset, where the last writes before a flush were not covered by it
    LYING = "lying"  #: as subset, but of two epochs: the disk said "flushed" and had not
    RECOVERY = "recovery"  #: a crash while the log was replayed: a prefix of recovery's own writes


class Oracle(StrEnum):
    """The judges, weakest first.  design decision 4 and docs/oracles.md say what each claims."""

    STRUCTURE = "structure"  #: after pure recovery a read-only full check finds no damage
    BOOT = "boot"  #: an unattended boot (`e2fsck -p`) ends below 4 and mends only log and orphans
    OBJECT = "object"  #: the scenario's objects are there with the fields that they must have
    DURABILITY = "durability"  #: whatever was acknowledged is there
    PREFIX = "prefix"  #: names and attributes are those of a moment of the reference model
    STALE = "stale"  #: a file holds only bytes that were written to it
    BARRIER = "barrier"  #: a flush before each commit block and after it
    LIVENESS = "liveness"  #: no operation hangs, and nothing in the guest dies
    ERROR = "error"  #: where the disk failed for good, an operation reported it
    LANDED = "landed"  #: a trial's kill or fault came while the workload ran
    AGREEMENT = "agreement"  #: all recoverers leave the same tree


#: those that judge a scenario's states; the others need a workload that the reference model knows
SCENARIO_ORACLES = (Oracle.STRUCTURE, Oracle.BOOT, Oracle.OBJECT)
#: those that judge a campaign's states
CAMPAIGN_ORACLES = (
    *(Oracle.STRUCTURE, Oracle.BOOT, Oracle.DURABILITY, Oracle.PREFIX, Oracle.STALE),
)
#: those that judge a run as a whole; their verdict stands in the row of its prefixes
RUN_ORACLES = (*(Oracle.BARRIER, Oracle.LIVENESS, Oracle.ERROR, Oracle.LANDED, Oracle.AGREEMENT),)


class FindingClass(StrEnum):
    """What a message of e2fsck means for a verdict."""

    REPLAY = "replay"  #: the journal was replayed
    ORPHAN = "orphan"  #: an inode that was unlinked while open was released
    COUNTS = "counts"  #: global free counts in the superblock, which a mount recounts
    FLAGS = "flags"  #: recovery did not start, or not go through, by itself
    DAMAGE = "damage"  #: structure that recovery should have left whole
    NOTE = "note"  #: says something, means nothing for the verdict


@dataclass(frozen=True)
class Finding:
    """One message of e2fsck, recognised.

    `code` is a stable name such as `dangling-entry`; `text` is the message as it was printed.
    """

    code: str
    kind: FindingClass
    text: str


@dataclass(frozen=True)
class Judgement:
    """What one oracle says of one state, and why.  `reason` is one sentence for a person."""

    oracle: Oracle
    verdict: Verdict
    reason: str
    findings: tuple[Finding, ...] = ()
