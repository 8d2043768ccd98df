"""What a campaign file may say: the workload, the states that are made of it, expected verdicts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from harness.config import Spec, parse_overrides
from harness.crash.plan import Limits
from harness.errors import UsageError
from harness.experiment.trial import Trial
from harness.images.recipe import Recipe, load_recipe
from harness.oracles.acknowledged import Strictness
from harness.verdicts import CAMPAIGN_ORACLES, RUN_ORACLES, CrashModel, Expectation, Oracle
from harness.workloads.agent.ace import METADATA, sample, sequences
from harness.workloads.agent.mixes import MIXES, mix
from harness.workloads.agent.oplist import OpList, parse, single
from harness.workloads.agent.patterns import names, pattern_list
from harness.workloads.agent.rules import Semantics
from harness.workloads.model import Thing, history
from harness.workloads.scenario import Disk, Scenario, Seconds, Step, WatchedObject
from harness.workloads.script import LISTING
from harness.workloads.stress import WEIGHTS, stress

#: what is expected per crash model and oracle; what is not named has to PASS
Expected = dict[CrashModel, dict[Oracle, Expectation]]


_SYNC = Step.model_validate({"sync": {}})


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


class States(Spec):
    """How many states of each crash model are made of a run's write log."""

    seed: int = 1  #: chooses where there are more states than wanted
    prefixes: bool = True
    complete: int = Field(default=6, ge=0, le=12)  #: an epoch of so few writes has all subsets
    subsets: int = Field(default=64, ge=0)  #: of each larger epoch
    torn: int = Field(default=500, ge=0)
    overlap: int = Field(default=0, ge=0)
    lying: int = Field(default=200, ge=0)
    recovery: int = Field(default=10, ge=0)  #: states whose recovery is crashed, at every write
    engine: int = Field(default=0, ge=0)  #: states that our own journal recovers, too, on the host
    linux: int = Field(default=0, ge=0, le=100)  #: states that the control guest recovers, too
    guest: int = Field(default=0, ge=0, le=100)  #: states that the variant mounts in the guest, too

    @property
    def limits(self) -> Limits:
        return Limits(
            seed=self.seed,
            prefixes=self.prefixes,
            complete=self.complete,
            subsets=self.subsets,
            torn=self.torn,
            overlap=self.overlap,
            lying=self.lying,
        )

    @property
    def in_recovery(self) -> Limits:
        """The states of recovery's own writes: its epochs are short, one for each of its fsyncs."""
        return Limits(seed=self.seed, complete=4, subsets=16, torn=16, lying=0)

    @property
    def models(self) -> tuple[CrashModel, ...]:
        """The crash models that it asks for."""
        wanted = {
            CrashModel.PREFIX: self.prefixes,
            CrashModel.SUBSET: self.subsets,
            CrashModel.TORN: self.torn,
            CrashModel.OVERLAP: self.overlap,
            CrashModel.LYING: self.lying,
            CrashModel.RECOVERY: self.recovery,
        }
        return tuple(model for model, count in wanted.items() if count)


class Minimise(Spec):
    """How small failures are made: `boots` of the guest, for each variant, go into leaving out
    operations.
    """

    boots: int = Field(default=0, ge=0, le=50)


class Campaign(Spec):
    """A campaign file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    about: str = ""
    guest: str = "linux-control"
    #: KEY=VALUE of the guest's recipe, as `--guest-set` has them
    guest_set: tuple[str, ...] = ()
    disk: Disk = Disk()
    stress: Stress | None = None
    lists: Lists | None = None
    script: Script | None = None
    setup: tuple[Step, ...] = ()
    steps: tuple[Step, ...] = ()  #: a workload that is written out, instead of `stress`
    #: what befalls a run; each is a run of its own for each seed.  Without any: the kill at the end
    trials: tuple[Trial, ...] = ()
    states: States = States()
    minimise: Minimise = Minimise()
    strictness: Strictness = Strictness.EXT3
    expect: dict[str, Expected] = Field(min_length=1)  #: by variant

    @model_validator(mode="after")
    def _one_workload(self) -> Campaign:
        if sum(map(bool, (self.stress, self.lists, self.script, self.steps))) != 1:
            raise ValueError("a workload is one of `stress`, `lists`, `script` and `steps`")
        if self.script and (self.trials or self.setup):
            raise ValueError("script: it has no `trials` and no `setup`, but a `prepare`")
        if self.minimise.boots and (self.script or self.trials):
            raise ValueError("minimise: neither a script nor a run with a trial is run in part")
        if not self.states.models:
            raise ValueError("states: no crash model is asked for")
        bad = [step.name for step in (*self.setup, *self.steps) if not step.is_operation]
        if bad:
            raise ValueError(f"steps: `{bad[0]}` is no operation; a campaign kills at the end")
        try:
            history(self.setup, self.steps)
        except UsageError as exc:
            raise ValueError(str(exc)) from exc
        return self

    @model_validator(mode="after")
    def _possible_trials(self) -> Campaign:
        if self.trials and self.stress and self.stress.rounds > 1:
            raise ValueError("trials: a run with rounds has none")
        if self.trials and self.lists:
            raise ValueError("trials: op lists have none; use `stress` or `steps`")
        if len({trial.name for trial in self.trials}) != len(self.trials):
            raise ValueError("trials: two of them are the same")
        for trial in self.trials:
            if trial.boot == 2 and not self.setup:
                raise ValueError(
                    "trials: `boot: 2` needs a `setup`, which runs before the crash; "
                    "`rounds` of `stress` crash random operations again"
                )
            if trial.fault and trial.fault.op >= len(self.workload(self.seeds[0], trial)):
                raise ValueError(f"trials: the workload has no operation {trial.fault.op}")
        return self

    @property
    def models(self) -> tuple[CrashModel, ...]:
        """The crash models that it judges by; op lists have ended when the guest is killed."""
        return self.states.models if self.lists else (CrashModel.KILL, *self.states.models)

    @property
    def state_oracles(self) -> tuple[Oracle, ...]:
        """Those that judge each state; no model knows which moments real work goes through."""
        without = (Oracle.PREFIX, Oracle.STALE) if self.script else ()
        return tuple(oracle for oracle in CAMPAIGN_ORACLES if oracle not in without)

    @property
    def run_oracles(self) -> tuple[Oracle, ...]:
        """Those that judge a run as a whole."""
        wanted = {
            Oracle.ERROR: any(trial.fault for trial in self.trials),
            Oracle.AGREEMENT: self.states.engine or self.states.linux or self.states.guest,
        }
        return tuple(oracle for oracle in RUN_ORACLES if wanted.get(oracle, True))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs; a workload that is written out has one."""
        return self.stress.seeds if self.stress else (0,)

    @property
    def fates(self) -> tuple[Trial | None, ...]:
        """What befalls the runs of a seed, one after the other."""
        return self.trials or (None,)

    @property
    def prelude(self) -> tuple[Step, ...]:
        """The operations before the recorded ones."""
        return self.script.setup if self.script else self.setup

    def workload(self, seed: int, trial: Trial | None = None) -> tuple[Step, ...]:
        """The operations of a run.  One whose disk fails ends with a sync, which has to say so."""
        steps = self.script.steps if self.script else self.steps
        if self.stress is not None:
            steps = stress(seed, self.stress.ops, {**WEIGHTS, **self.stress.weights})
        last = (_SYNC,) if trial is not None and trial.fault is not None else ()
        return (*steps, *last)

    def round(self, seed: int, number: int, start: tuple[Thing, ...]) -> tuple[Step, ...]:
        """The operations of a seed's later round, which goes on from `start`."""
        assert self.stress is not None
        weights = {**WEIGHTS, **self.stress.weights}
        return stress(seed, self.stress.ops, weights, start=start, number=number)

    def expectation(self, variant: str, model: CrashModel, oracle: Oracle) -> Expectation:
        """What is expected; what is not named has to PASS.

        A lying disk is no fault of the file system: where nothing is said of that model, PASS and
        FAIL are both no surprise.
        """
        usual = Expectation.ANY if model is CrashModel.LYING else Expectation.PASS
        return self.expect.get(variant, {}).get(model, {}).get(oracle, usual)

    def recipe(self, guest: str | None = None, settings: Sequence[str] = ()) -> Recipe:
        """The campaign's guest, or another, with the campaign's settings and then `settings`.

        Raises `UsageError`.
        """
        return load_recipe(guest or self.guest, parse_overrides([*self.guest_set, *settings]))

    def scenario(self, setup: tuple[Step, ...], steps: tuple[Step, ...]) -> Scenario:
        """A run as a scenario: what the guest is told to do until it is killed."""
        kill = Step.model_validate({"kill": "now"})
        return Scenario(
            name=self.name,
            title=self.title,
            disk=self.disk,
            setup=setup,
            steps=(*steps, kill),
            objects=(
                WatchedObject(
                    path="lost+found", was={"type": "directory"}, now={"type": "directory"}
                ),
            ),
            expect={variant: {} for variant in self.expect},
        )


_FOLDER = Path(__file__).parent / "campaigns"


def shipped_campaigns() -> list[Path]:
    """The campaign files that come with hurdle, by name."""
    return sorted(_FOLDER.glob("*.yaml"))


def campaign_path(name: str) -> Path:
    """A campaign's file: a path as it is, else the shipped campaign of that name.

    Raises `UsageError` that lists the shipped names.
    """
    path = Path(name)
    if path.is_file() or "/" in name:
        return path
    shipped = {each.stem: each for each in shipped_campaigns()}
    if path.stem not in shipped:
        raise UsageError(
            f"there is no campaign {name!r}",
            hint=f"give a file, or one of: {', '.join(shipped)}",
        )
    return shipped[path.stem]
