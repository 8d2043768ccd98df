"""What a campaign file may say of its workload: random operations, op lists, real work."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from harness.config import Spec
from harness.errors import UsageError
from harness.workloads.agent.ace import METADATA, sample, sequences
from harness.workloads.agent.mixes import MIXES, mix
from harness.workloads.agent.oplist import OpList, parse, single
from harness.workloads.agent.patterns import names, pattern_list
from harness.workloads.agent.rules import Semantics
from harness.workloads.scenario import Seconds, Step
from harness.workloads.script import LISTING
from harness.workloads.stress import WEIGHTS


def _seeds(value: object) -> object:
    """`101..148` as all seeds from 101 to 148."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)\.\.(\d+)", value)):
        return tuple(range(int(match[1]), int(match[2]) + 1))
    return value


#: a list of seeds, or a range such as `101..148`
Seeds = Annotated[tuple[int, ...], BeforeValidator(_seeds), Field(min_length=1, max_length=10_000)]


class Stress(Spec):
    """Random operations; each seed is a run of its own, with its own guest and file system."""

    ops: int = Field(default=150, ge=1, le=5000)
    seeds: Seeds = (1,)
    #: runs of each seed: each but the first goes on from a crash state of the one before, which the
    #: guest mounts
    rounds: int = Field(default=1, ge=1, le=20)
    #: how often an operation is drawn against the others; those not named keep their weight
    weights: dict[str, int] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> Stress:
        unknown = sorted(set(self.weights) - set(WEIGHTS))
        if unknown:
            raise ValueError(f"weights: {unknown[0]} is none of {', '.join(WEIGHTS)}")
        return self


class Sequences(Spec):
    """Short sequences of operations, each with what persists it: bounded-exhaustive testing.

    All of `length`, or `count` of them, drawn by `seed`; of those of three only metadata's.
    """

    length: int = Field(default=1, ge=1, le=3)
    count: int | None = Field(default=None, ge=1)
    seed: int = 1

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of core operations; none: all of them."""
        return METADATA if self.length > 2 else ()

    @model_validator(mode="after")
    def _bounded(self) -> Sequences:
        if self.count is None and self.length > 1:
            raise ValueError("sequences: longer ones are hundreds of thousands: give a `count`")
        return self


class RandomMix(Spec):
    """Random operations of several threads; one list for each seed."""

    mix: str
    ops: int = Field(default=40, ge=1, le=2000)  #: of each thread
    seeds: Seeds = (1,)

    @field_validator("mix")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in MIXES:
            raise ValueError(f"{name!r} is none of {', '.join(MIXES)}")
        return name


class Lists(Spec):
    """Op lists that the agent runs in the guest, all in one boot, each on a fresh file system."""

    #: published bug patterns by name, or all of them
    patterns: tuple[str, ...] | Literal["all"] = ()
    sequences: tuple[Sequences, ...] = ()
    mixes: tuple[RandomMix, ...] = ()
    texts: tuple[str, ...] = ()  #: lists written out
    #: the lists may fill their disk: ENOSPC is an answer, and SIGBUS of a write through a mapping
    full_disk: bool = False
    #: the Hurd's kernel gives up all pages of directories, as if it were short of memory, and again
    #: after this pause
    reclaim: Annotated[Seconds, Field(le=60)] | None = None

    @field_validator("texts")
    @classmethod
    def _are_lists(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for number, text in enumerate(texts):
            try:
                parse(text, f"list {number}")
            except UsageError as exc:
                raise ValueError(str(exc)) from exc
        return texts

    @field_validator("patterns")
    @classmethod
    def _are_known(cls, patterns: tuple[str, ...] | str) -> tuple[str, ...] | str:
        for name in () if isinstance(patterns, str) else patterns:
            if name not in names():
                raise ValueError(f"{name!r} is none of {', '.join(names())}")
        return patterns

    @model_validator(mode="after")
    def _some(self) -> Lists:
        if not (self.patterns or self.sequences or self.mixes or self.texts):
            raise ValueError("lists: give patterns, sequences, mixes or texts")
        return self

    def op_lists(self, semantics: Semantics) -> tuple[OpList, ...]:
        """All of them, with run numbers of their own; the same file gives the same ones."""
        wanted = names() if self.patterns == "all" else self.patterns
        found = [pattern_list(name) for name in wanted]
        for each in self.sequences:
            if each.count is None:
                threads = tuple(sequences(each.length))
            else:
                threads = sample(each.length, each.count, each.seed, each.kinds)
            found += [single(1, ops) for ops in threads]
        for drawn in self.mixes:
            found += [mix(drawn.mix, seed, drawn.ops, semantics=semantics) for seed in drawn.seeds]
        found += [parse(text) for text in self.texts]
        return tuple(OpList(n, each.threads, each.about) for n, each in enumerate(found, start=1))


class Script(Spec):
    """Real work: commands of the guest's shell, in the root of the crashed file system.

    `prepare` runs first and counts as nothing; it may write elsewhere (/tmp).  After each command
    the guest lists its tree and syncs.
    """

    OPS_EACH: ClassVar[int] = 3  #: operations of a run for each command

    prepare: str = ""
    commands: tuple[str, ...] = Field(min_length=1, max_length=1000)
    within: Seconds = 300.0  #: that a command may take under TCG, such as 300s

    @field_validator("commands")
    @classmethod
    def _say_something(cls, commands: tuple[str, ...]) -> tuple[str, ...]:
        if not all(command.strip() for command in commands):
            raise ValueError("script: a command is empty")
        return commands

    def _shell(self, command: str) -> Step:
        return Step.model_validate({"shell": {"command": command, "within": f"{self.within}s"}})

    @property
    def setup(self) -> tuple[Step, ...]:
        return (self._shell(self.prepare),) if self.prepare.strip() else ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """The operations that the guest is sent."""
        sync = Step.model_validate({"sync": {"within": f"{self.within}s"}})
        listing = self._shell(LISTING)
        return tuple(
            step for command in self.commands for step in (self._shell(command), listing, sync)
        )
