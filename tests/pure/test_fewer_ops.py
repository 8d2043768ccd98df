"""Leaving out operations of a list that fails."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.campaign.case import Case
from harness.campaign.fewer import fewer, without
from harness.campaign.smaller import operations
from harness.campaign.work import ListWork, StepsWork
from harness.oracles.acknowledged import Strictness
from harness.workloads.agent.convert import list_of
from harness.workloads.agent.oplist import Op, OpList, OpRef, parse
from harness.workloads.agent.rules import OK, apply
from harness.workloads.agent.tree import fresh
from harness.workloads.model import FRESH, Model
from harness.workloads.scenario import Step
from harness.workloads.stress import WEIGHTS, stress

NAMES = tuple("abcdefghijklmnop")


def made(*threads: Sequence[str]) -> OpList:
    return OpList(7, tuple(tuple(Op("mkdir", (n, 0o755)) for n in each) for each in threads))


def names(ops: OpList) -> list[str]:
    return [str(ops.op(ref).args[0]) for ref in ops.refs()]


@given(st.sets(st.sampled_from(NAMES), min_size=1, max_size=3), st.integers(1, 15))
def test_what_the_failure_needs_is_what_is_left(needed: set[str], split: int) -> None:
    asked: list[int] = []

    def fails(lists: Sequence[OpList]) -> list[bool]:
        assert len({each.run for each in lists}) == len(lists) and all(e.run for e in lists)
        asked.append(len(lists))
        return [needed <= set(names(each)) for each in lists]

    small = fewer(made(NAMES[:split], NAMES[split:]), 8, fails)
    assert set(names(small.ops)) == needed and small.minimal
    assert max(asked) <= 60 and len(asked) <= 5


@settings(max_examples=25)
@given(st.randoms(use_true_random=False), st.integers(1, 15))
def test_whatever_fails_no_operation_of_the_result_can_go_alone(
    chance: random.Random, split: int
) -> None:
    """Each list fails or not by a toss, so nothing that could go alone can go with another."""
    told: dict[object, bool] = {}

    def fails(lists: Sequence[OpList]) -> list[bool]:
        assert not {each.threads for each in lists} & told.keys()  # nothing is asked twice
        found = [chance.random() < 0.2 for _ in lists]
        told.update(zip((each.threads for each in lists), found, strict=True))
        return found

    small = fewer(made(NAMES[:split], NAMES[split:]), 50, fails)
    assert small.minimal
    refs = list(small.ops.refs())
    if len(refs) > 1:
        assert not any(told[without(small.ops, frozenset({ref})).threads] for ref in refs)


def test_a_long_list_is_short_after_three_rounds_and_as_short_as_it_gets_after_six() -> None:
    needed = {"n3", "n170", "n171", "n299"}

    def fails(lists: Sequence[OpList]) -> list[bool]:
        return [needed <= set(names(each)) for each in lists]

    ops = made([f"n{number}" for number in range(300)])
    short, known = fewer(ops, 3, fails), fewer(ops, 6, fails)
    assert len(names(short.ops)) < 20 and not short.minimal
    assert set(names(known.ops)) == needed and known.minimal


def test_a_round_in_which_nothing_fails_is_not_the_last() -> None:
    """Only pairs may go, and there are more cuts than a round asks for."""
    rounds: list[int] = []

    def fails(lists: Sequence[OpList]) -> list[bool]:
        rounds.append(len(lists))
        return [len(rounds) > 1 and len(names(each)) == 79 for each in lists]

    small = fewer(made([f"n{number}" for number in range(80)]), 2, fails)
    assert rounds[0] == 60 and len(names(small.ops)) == 79


def test_what_the_guest_did_not_say_is_asked_again() -> None:
    asked: list[set[object]] = []

    def fails(lists: Sequence[OpList]) -> list[bool | None]:
        asked.append({each.threads for each in lists})
        return [None] * len(lists) if len(asked) == 1 else [False] * len(lists)

    ops = made(NAMES)
    small = fewer(ops, 3, fails)
    assert asked[0] == asked[1] and small.ops is ops and small.minimal and len(asked) == 2


def test_a_barrier_goes_with_the_last_one_who_meets_there() -> None:
    text = "hurdle-ops 1 run=000007\nthread\nmkdir a 0755\nbarrier x\nthread\nbarrier x\nsync\n"
    ops = parse(text)
    small = without(ops, frozenset({OpRef(0, 1)}))
    assert [str(op) for thread in small.threads for op in thread] == ["mkdir a 0755", "sync"]
    assert len(without(ops, frozenset({OpRef(0, 0), OpRef(0, 1)})).threads) == 1


def test_random_steps_become_a_list_that_does_the_same() -> None:
    for seed in range(5):
        steps = stress(seed, 120, WEIGHTS)
        model, tree = Model(), fresh()
        for number, step in enumerate(steps):
            model.change(step, number)
        listing = list_of(steps)
        assert listing is not None
        for ref in listing.refs():
            done = apply(tree, ref, listing.op(ref))
            assert done.errno == OK, (seed, listing.op(ref))
            tree = done.tree
        looks = {path: tree.nodes[number].look for path, number in tree.walk()}
        assert looks == dict(model.moment(0).looks)


def test_what_the_agent_can_not_do_is_no_list() -> None:
    shell = Step.model_validate({"shell": "true"})
    other = Step.model_validate({"mkdir": {"path": "a", "as": "user"}})
    assert list_of([shell]) is None and list_of([other]) is None


def test_steps_are_run_again_with_a_sync_behind_them() -> None:
    """The agent is through with them before the guest would write anything by itself."""
    steps = (Step.model_validate({"mkdir": "a"}), Step.model_validate({"mkdir": "b"}))
    work = StepsWork(steps[:1], steps[1:], ())
    nowhere = Path("none")
    case = Case("c", "ext2", 1, nowhere, nowhere, work, 0, Strictness.EXT3, True, {})
    ops = operations(case)
    assert ops and [ops.op(ref).name for ref in ops.refs()] == ["mkdir", "mkdir", "syncfs"]
    again = replace(case, work=ListWork(ops, (), (), 0, hurd=False, ordered_sizes=True))
    assert operations(again) is ops
    later = replace(work, start=(*FRESH, replace(FRESH[0], names=("x",))))
    assert operations(replace(case, work=later)) is None
