"""What a campaign file may say: the workload (`workload.py`), its states, expected verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, model_validator

from harness.campaign.workload import Lists, Script, Stress
from harness.config import Spec, parse_overrides
from harness.crash.plan import Limits
from harness.errors import UsageError
from harness.experiment.trial import Trial
from harness.images.recipe import GuestOs, Recipe, load_recipe
from harness.oracles.acknowledged import Strictness
from harness.verdicts import CAMPAIGN_ORACLES, RUN_ORACLES, CrashModel, Expectation, Oracle
from harness.workloads.model import Thing, history
from harness.workloads.scenario import Disk, Scenario, Seconds, Step, WatchedObject
from harness.workloads.stress import WEIGHTS, stress

#: what is expected per crash model and oracle; what is not named has to PASS
Expected = dict[CrashModel, dict[Oracle, Expectation]]


_SYNC = Step.model_validate({"sync": {}})


class States(Spec):
    """How many states of each crash model are made of a run's write log."""

    seed: int = 1  #: chooses where there are more states than wanted
    prefixes: bool = True
    complete: int = Field(default=6, ge=0, le=12)  #: an epoch of so few writes has all subsets
    subsets: int = Field(default=64, ge=0)  #: of each larger epoch
    torn: int = Field(default=500, ge=0)
    torn_subsets: int = Field(default=0, ge=0)  #: subsets of which one write is there in part
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
            torn_subsets=self.torn_subsets,
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
            CrashModel.TORN: self.torn or self.torn_subsets,
            CrashModel.OVERLAP: self.overlap,
            CrashModel.LYING: self.lying,
            CrashModel.RECOVERY: self.recovery,
        }
        return tuple(model for model, count in wanted.items() if count)


class Minimise(Spec):
    """How small failures are made: at most `boots` of the guest and the time `within`, for each
    variant, go into leaving out operations; of what the campaign expects only where that is asked
    for.
    """

    boots: int = Field(default=6, ge=0, le=50)
    within: Seconds = 600.0
    expected: bool = False


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
        if "minimise" in self.model_fields_set and (self.script or self.trials):
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
            if trial.ops and not self.stress:
                raise ValueError("trials: `ops` is of `stress`, which draws them")
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
            Oracle.LANDED: bool(self.trials),
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
            count = (trial and trial.ops) or self.stress.ops
            steps = stress(seed, count, {**WEIGHTS, **self.stress.weights})
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

        Raises `UsageError`, also for a guest that can't do what the campaign asks for.
        """
        found = load_recipe(guest or self.guest, parse_overrides([*self.guest_set, *settings]))
        if self.lists and self.lists.reclaim is not None and found.os is not GuestOs.HURD:
            raise UsageError(
                f"lists.reclaim: {found.name} is no Hurd, and only there a running transaction's "
                "pages can be taken from the kernel",
                hint="leave it out, or give a Hurd: --guest hurd-i386-source",
            )
        return found

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
