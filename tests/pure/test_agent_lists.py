"""The generators: how many lists there are, that they are valid, and that a seed repeats them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from harness.errors import UsageError
from harness.workloads.agent.ace import METADATA, numbered, parameters, sample, sequences
from harness.workloads.agent.mixes import MIXES, mix
from harness.workloads.agent.oplist import Op, OpList, parse
from harness.workloads.agent.patterns import names, pattern_list
from harness.workloads.agent.rules import HURD, LINUX, OK, Semantics, apply
from harness.workloads.agent.tree import fresh

PERSISTS = {"syncfs", "fsync"}


def failures(listing: OpList, semantics: Semantics = LINUX) -> list[tuple[Op, str]]:
    tree, failed = fresh(), []
    for ref in listing.refs():
        done = apply(tree, ref, listing.op(ref), semantics)
        tree = done.tree
        if done.errno != OK:
            failed.append((listing.op(ref), done.errno))
    return failed


def test_all_sequences_of_one_operation() -> None:
    found = list(sequences(1))
    assert len(parameters()) == 45
    assert len(found) == len(set(found)) == 142
    assert len(list(sequences(1, xattrs=True))) == 154
    for listing in numbered(found):
        assert not failures(listing)
        assert listing.threads[0][-1].name in PERSISTS


def test_sequences_are_sampled_by_seed() -> None:
    two = sample(2, 40, seed=5)
    assert two == sample(2, 40, seed=5) != sample(2, 40, seed=6)
    three = sample(3, 20, 5, METADATA)
    for listing in numbered([*two, *three]):
        assert not failures(listing)
        assert listing.threads[0][-1].name in PERSISTS
    runs = [listing.run for listing in numbered([*two, *three], first=9)]
    assert runs == list(range(9, 69))


def test_published_patterns_are_valid_lists_and_say_what_they_must_leave() -> None:
    assert len(names()) == 35
    for name in names():
        listing = pattern_list(name)
        assert listing.about
        semantics = HURD if "translator" in name else LINUX
        assert not failures(listing, semantics), name
    assert len({pattern_list(name).run for name in names()}) == len(names())


def test_a_list_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="there is no list 'nothing'") as caught:
        pattern_list("nothing")
    assert "link-new-name" in str(caught.value.hint)


@pytest.mark.parametrize("name", MIXES)
def test_a_mix_is_valid_in_turn_and_repeats(name: str) -> None:
    listing = mix(name, 7, 60)
    assert listing == mix(name, 7, 60)
    assert parse(str(listing)) == listing
    assert len(listing.threads) == MIXES[name].threads
    # Thread after thread is another order than the one in which it was drawn.
    assert not failures(listing, HURD)
    drawn = {op.name for thread in listing.threads for op in thread}
    assert len(drawn) >= {"bulk": 7, "moves": 4}.get(name, 8)  # few kinds are all there is to them


def test_a_mix_is_the_same_in_every_process() -> None:
    code = "from harness.workloads.agent.mixes import mix; print(mix('mixed', 7, 30), end='')"
    made = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert made == {str(mix("mixed", 7, 30))}


def test_an_unknown_mix_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no mix 'none'"):
        mix("none", 1, 1)
