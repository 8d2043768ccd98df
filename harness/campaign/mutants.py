"""`hurdle mutants`: planted defects of the journal, each in the guest's ext2fs, and who notices.

Each goes through campaigns, up to the first case with an unexpected FAIL.  The first of all is the
journal without a defect: what is not found there, and is found with it, is the defect.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.campaign.judging import campaign_lines
from harness.campaign.run import RESULTS, Options, run_campaign
from harness.campaign.spec import Campaign
from harness.campaign.store import Store
from harness.errors import Exit, GuestError, UsageError
from harness.images.cache import Cache
from harness.images.recipe import Recipe
from harness.progress import say
from harness.report.atomic import write_atomically
from harness.report.mutants import Outcome, write_mutants
from harness.variants.mutants import Mutant, build_mutant
from harness.verdicts import Verdict

_WHOLE = "none"  #: name of the journal without a defect
_OUTCOME = "outcome.json"
_TRIES = 2  #: a kernel may die once by itself


def run_mutants(
    benches: Sequence[tuple[Campaign, Recipe]], mutants: Sequence[Mutant], options: Options
) -> Exit:
    """Run campaigns, each on its guest, on `options.variant` with each defect; 0: all were found.

    The whole journal has to pass, or nothing is proved: exit code 1.  With `options.resume` what
    was found earlier is kept.  A guest that breaks twice is a defect that was found.
    Raises `UsageError` and `InfraError`.
    """
    runner = _Runner(benches, options)
    names = [campaign.name for campaign, _ in benches]
    whole: Outcome | None = None
    defects: list[Outcome] = []
    for mutant in (None, *mutants):
        outcome = runner.outcome(mutant)
        say(_words(outcome))
        if mutant is None:
            whole = outcome
        else:
            defects.append(outcome)
        write_mutants(whole, defects, names, options.command, options.out)
    missed = [each.mutant for each in defects if not each.found]
    say(f"{len(defects) - len(missed)} of {len(defects)} found: {options.out / 'report.html'}")
    bad = missed or whole is None or whole.found
    return Exit.UNEXPECTED if bad else Exit.OK


class _Runner:
    def __init__(self, benches: Sequence[tuple[Campaign, Recipe]], options: Options) -> None:
        self._name = options.variant or ""
        for _, recipe in benches:
            described = recipe.variants.get(self._name)
            if described is None or described.build is None:
                raise UsageError(
                    f"{recipe.name} builds no variant {self._name!r}, so that no defect can be "
                    "planted",
                    hint="give a guest and a --variant whose recipe has a `build`",
                )
        self._benches = benches
        self._options = options

    def outcome(self, mutant: Mutant | None) -> Outcome:
        """Build and judge one, or read what was found earlier."""
        name = mutant.name if mutant else _WHOLE
        earlier = self._options.out / name / _OUTCOME
        if self._options.resume and earlier.is_file():
            data = json.loads(earlier.read_text())
            oracles = {oracle: tuple(models) for oracle, models in data.pop("oracles").items()}
            return Outcome(oracles=oracles, **data)
        say(f"{name}: building")
        parts: list[Outcome] = []
        with TemporaryDirectory(prefix="hurdle-mutant-") as scratch:
            file = self._built(mutant, Path(scratch))
            for campaign, recipe in self._benches:
                parts.append(self._part(name, campaign, _planted(recipe, self._name, file)))
                if mutant and parts[-1].found:  # the whole journal is judged to the end
                    break
        found = _together(parts)
        write_atomically(earlier, json.dumps(asdict(found), indent=1).encode())
        return found

    def _part(self, name: str, campaign: Campaign, recipe: Recipe) -> Outcome:
        """One campaign; its folder is below the defect's."""
        began, guest = time.monotonic(), ""
        folder = self._options.out / name / campaign.name
        options = replace(
            self._options,
            out=folder,
            hurd=None,
            resume=False,
            force=True,
            until_found=name != _WHOLE,
        )
        for _ in range(_TRIES):
            try:
                run_campaign(campaign, recipe, options)
                guest = ""
                break
            except GuestError as error:
                guest = str(error)
        return self._judged(name, campaign, folder, guest, time.monotonic() - began)

    def _built(self, mutant: Mutant | None, scratch: Path) -> Path:
        """The variant's program, built from the defective sources."""
        build = self._benches[0][1].variants[self._name].build
        built = build_mutant(
            mutant, build or self._name, scratch, Cache.default(), say, tree=self._options.hurd
        )
        file = scratch / "ext2fs"  # the cache keeps only the last few builds
        file.write_bytes(built.file.read_bytes())
        return file

    def _judged(
        self, name: str, campaign: Campaign, folder: Path, guest: str, seconds: float
    ) -> Outcome:
        with Store(folder / RESULTS) as store:
            cases = [case for case, _ in store.cases()]
            lines = campaign_lines(campaign, store, [self._name])
            wrong = [line for line in lines if line.found is Verdict.FAIL and not line.ok]
            failures = [each for case in cases for each in store.failures(case)]
            logs = [said for case in cases for said in store.log_verdicts(case)]
            states = sum(len(store.known_states(case)) for case in cases)
        oracles: dict[str, tuple[str, ...]] = {}
        for line in wrong:
            oracles[line.oracle.value] = (*oracles.get(line.oracle.value, ()), line.model.value)
        reasons = [each.reason for each in failures]
        reasons += [said.reason for said in logs if said.verdict is Verdict.FAIL]
        return Outcome(
            mutant=name,
            campaign=campaign.name if oracles or guest else "",
            oracles=oracles,
            example=reasons[0] if wrong and reasons else "",
            states=states,
            fails=len({(each.case, each.id) for each in failures}),
            guest=guest,
            seconds=round(seconds, 1),
        )


def _planted(recipe: Recipe, name: str, file: Path) -> Recipe:
    """The recipe whose variant is the program `file`."""
    planted = recipe.variants[name].model_copy(update={"file": file, "build": None})
    return recipe.model_copy(update={"variants": {**recipe.variants, name: planted}})


def _together(parts: Sequence[Outcome]) -> Outcome:
    """What one defect came to over its campaigns, of which at most the last has found it.

    Of the whole journal more than one may have failed: the first tells.
    """
    first = next((each for each in parts if each.found), parts[-1])
    return replace(
        first,
        states=sum(each.states for each in parts),
        fails=sum(each.fails for each in parts),
        seconds=round(sum(each.seconds for each in parts), 1),
    )


def _words(outcome: Outcome) -> str:
    by = ", ".join(outcome.oracles) or ("the guest" if outcome.guest else "nobody")
    by += f" in {outcome.campaign}" if outcome.campaign else ""
    return (
        f"{outcome.mutant}: noticed by {by}; {outcome.fails} of {outcome.states} states failed; "
        f"{outcome.seconds:.0f} s"
    )
