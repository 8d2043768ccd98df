"""Leaving out operations of a list that fails."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from harness.campaign.fewer import fewer, without
from harness.workloads.agent.convert import list_of
from harness.workloads.agent.oplist import Op, OpList, OpRef, parse
from harness.workloads.agent.rules import OK, apply
from harness.workloads.agent.tree import fresh
from harness.workloads.model import Model
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

    ops = made(NAMES[:split], NAMES[split:])
    small = fewer(ops, 8, fails)
    assert set(names(small)) == needed
    assert max(asked) <= 60 and len(asked) <= 8


def test_one_round_makes_a_list_smaller_and_two_do_what_went_alone() -> None:
    def fails(lists: Sequence[OpList]) -> list[bool]:
        return [{"c", "k"} <= set(names(each)) for each in lists]

    ops = made(NAMES)
    assert len(names(fewer(ops, 1, fails))) < len(NAMES)
    assert names(fewer(ops, 2, fails)) == ["c", "k"]
    assert fewer(ops, 0, fails) is ops
    assert fewer(ops, 3, lambda lists: [False] * len(lists)) is ops


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
