"""`hurdle mutants`: planted defects of the journal, each in the guest's ext2fs, and who notices.

Each is a campaign of its own that ends behind the first case with an unexpected FAIL.  The first of
all is the journal without a defect: what is not found there, and is found with it, is the defect.
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


def run_mutants(
    campaign: Campaign, recipe: Recipe, mutants: Sequence[Mutant], options: Options
) -> Exit:
    """Run the campaign on `options.variant` with each defect; 0 when each is found.

    The whole journal has to pass, or nothing is proved: exit code 1.  With `options.resume` what
    was found earlier is kept.  A guest that breaks is a defect that was found.
    Raises `UsageError` and `InfraError`.
    """
    runner = _Runner(campaign, recipe, options)
    whole: Outcome | None = None
    defects: list[Outcome] = []
    for mutant in (None, *mutants):
        outcome = runner.outcome(mutant)
        say(_words(outcome))
        if mutant is None:
            whole = outcome
        else:
            defects.append(outcome)
        write_mutants(whole, defects, campaign.name, options.command, options.out)
    missed = [each.mutant for each in defects if not each.found]
    say(f"{len(defects) - len(missed)} of {len(defects)} found: {options.out / 'report.html'}")
    bad = missed or whole is None or whole.found
    return Exit.UNEXPECTED if bad else Exit.OK


class _Runner:
    def __init__(self, campaign: Campaign, recipe: Recipe, options: Options) -> None:
        name = options.variant or ""
        described = recipe.variants.get(name)
        if described is None or described.build is None:
            raise UsageError(
                f"{recipe.name} builds no variant {name!r}, so that no defect can be planted",
                hint="give a guest and a --variant whose recipe has a `build`",
            )
        self._campaign = campaign
        self._recipe = recipe
        self._name, self._described = name, described
        self._options = options

    def outcome(self, mutant: Mutant | None) -> Outcome:
        """Build and judge one, or read what was found earlier."""
        name = mutant.name if mutant else _WHOLE
        folder = self._options.out / name
        earlier = folder / _OUTCOME
        if self._options.resume and earlier.is_file():
            data = json.loads(earlier.read_text())
            oracles = {oracle: tuple(models) for oracle, models in data.pop("oracles").items()}
            return Outcome(oracles=oracles, **data)
        say(f"{name}: building")
        began, guest = time.monotonic(), ""
        options = replace(
            self._options,
            out=folder,
            hurd=None,
            resume=False,
            force=True,
            until_found=mutant is not None,  # the whole journal is judged to the end
        )
        with TemporaryDirectory(prefix="hurdle-mutant-") as scratch:
            try:
                run_campaign(self._campaign, self._planted(mutant, Path(scratch)), options)
            except GuestError as error:
                guest = str(error)
        found = self._judged(name, folder, guest, time.monotonic() - began)
        write_atomically(earlier, json.dumps(asdict(found), indent=1).encode())
        return found

    def _planted(self, mutant: Mutant | None, scratch: Path) -> Recipe:
        """The recipe whose variant is a program that was built from the defective sources."""
        built = build_mutant(
            mutant,
            self._described.build or self._name,
            scratch,
            Cache.default(),
            say,
            tree=self._options.hurd,
        )
        file = scratch / "ext2fs"  # the cache keeps only the last few builds
        file.write_bytes(built.file.read_bytes())
        planted = self._described.model_copy(update={"file": file, "build": None})
        variants = {**self._recipe.variants, self._name: planted}
        return self._recipe.model_copy(update={"variants": variants})

    def _judged(self, name: str, folder: Path, guest: str, seconds: float) -> Outcome:
        with Store(folder / RESULTS) as store:
            cases = [case for case, _ in store.cases()]
            lines = campaign_lines(self._campaign, store, [self._name])
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
            oracles=oracles,
            example=reasons[0] if wrong and reasons else "",
            states=states,
            fails=len({(each.case, each.id) for each in failures}),
            guest=guest,
            seconds=round(seconds, 1),
        )


def _words(outcome: Outcome) -> str:
    by = ", ".join(outcome.oracles) or ("the guest" if outcome.guest else "nobody")
    return (
        f"{outcome.mutant}: noticed by {by}; {outcome.fails} of {outcome.states} states failed; "
        f"{outcome.seconds:.0f} s"
    )
