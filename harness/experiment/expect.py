"""What the scenario expects against what the oracles said.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from harness.errors import Exit, UsageError
from harness.events import Compared, VerdictGiven
from harness.images.recipe import Recipe
from harness.verdicts import SCENARIO_ORACLES, Expectation, Verdict
from harness.workloads.scenario import Scenario


def choose_variants(scenario: Scenario, recipe: Recipe, wanted: str | None) -> tuple[str, ...]:
    """The variants to run: the one asked for, else all that guest and scenario both know.

    Raises `UsageError` when there is none, or when the scenario expects nothing of the one wanted.
    """
    both = tuple(name for name in recipe.variants if name in scenario.expect)
    if wanted is None:
        if not both:
            raise UsageError(
                f"scenario {scenario.name} expects nothing of any variant of {recipe.name}",
                hint=f"add one of {', '.join(recipe.variants)} to its `expect`",
            )
        _need_journals(scenario, recipe, both)
        return both
    if wanted not in recipe.variants:
        raise UsageError(
            f"{recipe.name} has no variant {wanted!r}",
            hint=f"its variants: {', '.join(recipe.variants)}",
        )
    if wanted not in scenario.expect:
        raise UsageError(
            f"scenario {scenario.name} does not say what to expect of {wanted!r}",
            hint=f"add `{wanted}: {{}}` to its `expect`, if every oracle should pass",
        )
    _need_journals(scenario, recipe, (wanted,))
    return (wanted,)


def _need_journals(scenario: Scenario, recipe: Recipe, chosen: tuple[str, ...]) -> None:
    """Raise `UsageError` where the scenario waits for a commit that can't come."""
    without = [name for name in chosen if not recipe.variants[name].journaled]
    if without and any(step.name == "after" and step.action == "commit" for step in scenario.steps):
        raise UsageError(
            f"{without[0]} has no journal, so no commit ends the step `after: commit`",
            hint="use a duration, such as `after: 7s`, or choose another --variant",
        )


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict for many states: a single FAIL fails them all; VOID only if all are void."""
    counts = Counter(verdicts)
    for verdict in (Verdict.INFRA, Verdict.FAIL, Verdict.PASS):
        if counts[verdict]:
            return verdict
    return Verdict.VOID


def compare(scenario: Scenario, variant: str, given: Iterable[VerdictGiven]) -> list[Compared]:
    """A line for each crash model and oracle of a variant; what is not named must PASS.

    An oracle that gave no verdict at all is INFRA: a test that did not report has not passed.
    """
    given = [each for each in given if each.variant == variant]
    lines = []
    for model in scenario.models:
        expected_by_oracle = scenario.expect[variant].get(model, {})
        for oracle in SCENARIO_ORACLES:
            verdicts = [e.verdict for e in given if (e.model, e.oracle) == (model, oracle)]
            expected = expected_by_oracle.get(oracle, Expectation.PASS)
            found = overall(verdicts) if verdicts else Verdict.INFRA
            lines.append(
                Compared(
                    variant=variant,
                    model=model,
                    oracle=oracle,
                    expected=expected,
                    found=found,
                    ok=expected.allows(found),
                    states=len(verdicts),
                    counts={str(v): n for v, n in sorted(Counter(verdicts).items())},
                    note="" if verdicts else "no verdict was given",
                )
            )
    return lines


def exit_code(lines: Iterable[Compared]) -> Exit:
    """The run's ending.  A difference outranks VOID; INFRA outranks both, as it explains them."""
    lines = list(lines)
    if any(line.found is Verdict.INFRA for line in lines):
        return Exit.INFRA
    if any(not line.ok and line.found is not Verdict.VOID for line in lines):
        return Exit.UNEXPECTED
    if any(Verdict.VOID in line.counts and line.expected is not Expectation.VOID for line in lines):
        return Exit.VOID
    return Exit.OK if lines else Exit.INFRA
