"""How operations of a list end: on a healthy disk nothing calls for an error of the disk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.campaign.spec import Campaign
from harness.campaign.work import ListWork, work_of
from harness.oracles.outcome import judge_liveness
from harness.verdicts import Verdict
from harness.workloads.agent.answers import wrong_answers
from harness.workloads.agent.marks import OpJournal, Span
from harness.workloads.agent.oplist import OpRef, parse
from harness.workloads.agent.orders import Orders
from harness.workloads.agent.rules import HURD, LINUX, Semantics
from harness.workloads.journal import Ending, Outcome

RUN = 5


def orders(body: str, semantics: Semantics = LINUX, /, **errnos: str) -> Orders:
    """One thread; `e2="EIO"` is how its operation 2 ended."""
    lines = body.split("; ")
    ops = parse(f"hurdle-ops 1 run={RUN:06x}\nthread\n" + "\n".join(lines) + "\n")
    spans = {
        OpRef(0, n): Span(OpRef(0, n), n, n + 1, errnos.get(f"e{n}", "OK"))
        for n in range(len(lines))
    }
    return Orders(ops, OpJournal(RUN, spans, None, 0, len(lines)), semantics)


LIST = "creat a 0644; write a 0 8192; fsync a; mkdir d 0755; syncfs ."


@pytest.mark.parametrize(
    "errno", ["EIO", "EROFS", "ENOMEM", "ENOSPC", "ENOSYS", "EDQUOT", "SIGBUS", "E117", "ENOTSUP"]
)
@pytest.mark.parametrize("number", range(5))
def test_an_operation_that_a_healthy_disk_refuses_is_wrong(errno: str, number: int) -> None:
    assert not wrong_answers(orders(LIST))
    (wrong,) = wrong_answers(orders(LIST, **{f"e{number}": errno}))[:1]
    assert f"ended with {errno}" in wrong and f"operation {number} of thread 0" in wrong
    said = judge_liveness(Outcome(Ending.ALL, 4), LIST.split("; "), (wrong,))
    assert said.verdict is Verdict.FAIL and said.findings


def test_a_list_of_which_every_sync_fails_is_no_pass() -> None:
    wrong = wrong_answers(orders(LIST, e2="EIO", e4="EIO"))
    assert len(wrong) == 2
    said = judge_liveness(Outcome(Ending.ALL, 4), LIST.split("; "), wrong)
    assert said.verdict is Verdict.FAIL and "and 1 more" in said.reason


@pytest.mark.parametrize(
    ("body", "errno"),
    [
        ("creat a 0644; mkdir d 0755; rmdir d", "ENOTEMPTY"),
        ("creat a 0644; mkdir d 0755; creat a 0644", "ENOENT"),
        ("creat a 0644; mkdir d 0755; unlink a", "EMLINK"),
        ("creat a 0644; mkdir d 0755; fsync a", "EBADF"),
        ("creat a 0644; mkdir d 0755; fsync b", "EBADF"),
        ("creat a 0644; mkdir d 0755; rmdir a", "OK"),
    ],
)
def test_an_answer_that_no_order_explains_is_wrong_without_a_sync_behind_it(
    body: str, errno: str
) -> None:
    assert wrong_answers(orders(body, e2=errno))


@pytest.mark.parametrize(
    ("body", "errno", "semantics"),
    [
        ("creat a 0644; mkdir d 0755; creat a 0644", "EEXIST", LINUX),
        ("creat a 0644; mkdir d 0755; fsync b", "ENOENT", LINUX),
        ("creat a 0644; mkdir d 0755; unlink d", "EPERM", HURD),  # Linux says EISDIR
        ("mkdir d 0755; creat d/a 0644; rmdir d", "EEXIST", HURD),
        ("creat a 0644; mkdir d 0755; settrans a /hurd/null", "ENOTSUP", LINUX),
        ("creat a 0644; mkdir d 0755; setxattr a k v", "ENOTSUP", HURD),
        ("creat a 0644; mkdir d 0755; setxattr b k v", "ENOENT", HURD),
    ],
)
def test_an_error_that_the_list_calls_for_is_right(
    body: str, errno: str, semantics: Semantics
) -> None:
    assert not wrong_answers(orders(body, semantics, e2=errno))
    assert wrong_answers(orders(body, semantics, e2="OK"))


def test_a_list_that_may_fill_its_disk_may_meet_its_end() -> None:
    full = orders("creat a 0644; write a 0 8192; mwrite a 0 4096", e1="ENOSPC", e2="SIGBUS")
    assert len(wrong_answers(full)) == 2
    assert not wrong_answers(full, full_disk=True)
    for errno in ("EIO", "EROFS", "SIGBUS"):
        assert wrong_answers(orders("creat a 0644; write a 0 9", e1=errno), full_disk=True)


def test_what_a_campaign_says_of_its_disk_is_in_the_case() -> None:
    lists = {"texts": [f"hurdle-ops 1 run={RUN:06x}\nthread\ncreat a 0644\n"], "full_disk": True}
    made = Campaign.model_validate({"name": "x", "title": "x", "lists": lists, "expect": {"e": {}}})
    assert made.lists is not None and made.lists.full_disk
    (ops,) = made.lists.op_lists(LINUX)
    work = ListWork(ops, (Span(OpRef(0, 0), 0, 1, "OK"),), (), 1, hurd=False, ordered_sizes=True)
    for each in (work, replace(work, full_disk=True)):
        assert work_of(each.plain()) == each
    old = work.plain()
    del old["full_disk"]  # as it was written before
    assert work_of(old) == work
