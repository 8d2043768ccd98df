"""Steps of a scenario or a random workload as an op list, for the agent.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from harness.workloads.agent.oplist import Op, OpList, single
from harness.workloads.scenario import Step


def list_of(steps: Iterable[Step], run: int = 1) -> OpList | None:
    """The same operations; None where one of them is not the agent's (shell, another user).

    The bytes that are written are others: those of the list.
    """
    ops: list[Op] = []
    for step in steps:
        rule = _RULES.get(step.name)
        if rule is None or getattr(step.action, "as_", None) is not None:
            return None
        ops += rule(step.action)
    return single(run, ops)


def _create(op: Any) -> list[Op]:
    made = Op("creat", (op.path, int(op.mode, 8)))
    return [made, Op("write", (op.path, 0, op.size))] if op.size else [made]


_RULES: Mapping[str, Callable[[Any], list[Op]]] = {
    "mkdir": lambda op: [Op("mkdir", (op.path, int(op.mode, 8)))],
    "create": _create,
    "overwrite": lambda op: [Op("write", (op.path, op.offset, op.size))],
    "append": lambda op: [Op("append", (op.path, op.size))],
    "truncate": lambda op: [Op("truncate", (op.path, op.size))],
    "rename": lambda op: [Op("rename", (op.from_, op.to))],
    "link": lambda op: [Op("link", (op.from_, op.to))],
    "symlink": lambda op: [Op("symlink", (op.from_, op.to))],
    "unlink": lambda op: [Op("unlink", (op.path,))],
    "rmdir": lambda op: [Op("rmdir", (op.path,))],
    "chmod": lambda op: [Op("chmod", (op.path, int(op.mode, 8)))],
    "chown": lambda op: [Op("chown", (op.path, op.uid, op.gid))],
    "fsync": lambda op: [Op("fsync", (op.path,))],
    "sync": lambda op: [Op("syncfs", (".",))],
}
