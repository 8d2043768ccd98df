"""Random workloads: valid operations on a small tree, chosen by weight and seed.  Pure.

Names come from a small stock, so that operations meet each other: a file is linked, renamed over
another, appended to and deleted within a few steps.  Every write carries its operation's number,
by which the oracles tell it from any other.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from harness.workloads.model import FRESH, Model, Thing
from harness.workloads.scenario import Step

#: how often an operation is drawn, against the others
WEIGHTS: Mapping[str, int] = {
    "create": 6,
    "mkdir": 4,
    "rename": 5,
    "link": 3,
    "symlink": 2,
    "unlink": 4,
    "rmdir": 2,
    "append": 3,
    "overwrite": 2,
    "truncate": 2,
    "chmod": 1,
    "chown": 1,
    "fsync": 3,
    "sync": 1,
}
_NAMES = tuple("abcdefgh")
_FOLDERS = tuple("PQRS")
_SIZES = (0, 100, 4096, 6000, 20000)
_TRIES = 20  # an operation that finds nothing to work on gives way to another
_DEPTH = 3


class _Draw:
    def __init__(self, seed: int | str, weights: Mapping[str, int], start: Iterable[Thing]) -> None:
        self.random = random.Random(seed)
        self.model = Model(start)
        self._names = [name for name, weight in weights.items() if weight > 0]
        self._weights = [weights[name] for name in self._names]

    def step(self, number: int, mark: str) -> Step:
        for _ in range(_TRIES):
            (name,) = self.random.choices(self._names, self._weights)
            arguments = getattr(self, f"_{name}")(mark)
            if arguments is not None:
                step = Step.model_validate({name: arguments})
                self.model.change(step, number)
                return step
        return Step.model_validate({"sync": {}})

    def _any(self, kind: str) -> str | None:
        found = sorted(path for path, of in self.model.paths.items() if of == kind)
        return self.random.choice(found) if found else None

    def _free(self, stock: tuple[str, ...]) -> str | None:
        """A path whose folder exists, and it does not."""
        known = self.model.paths
        folders = ["", *sorted(p for p, kind in known.items() if kind == "directory")]
        folder = self.random.choice([f for f in folders if f.count("/") < _DEPTH - 1])
        name = self.random.choice(stock)
        path = f"{folder}/{name}" if folder else name
        return None if path in known else path

    def _create(self, mark: str) -> dict[str, Any] | None:
        path, size = self._free(_NAMES), self.random.choice(_SIZES)
        return {"path": path, "size": size, "mark": mark} if path else None

    def _mkdir(self, mark: str) -> dict[str, Any] | None:
        path = self._free(_FOLDERS)
        return {"path": path} if path else None

    def _rename(self, mark: str) -> dict[str, Any] | None:
        source = self._any(self.random.choice(("regular", "regular", "directory", "symlink")))
        if source is None:
            return None
        if self.model.paths[source] == "directory":
            target = self._free(_FOLDERS)
            if target is None or target.startswith(f"{source}/"):
                return None
            return {"from": source, "to": target}
        over = self._any("regular") if self.random.random() < 0.4 else self._free(_NAMES)
        if not over or self._same(source, over):  # mv(1) of coreutils calls that an error
            return None
        return {"from": source, "to": over}

    def _same(self, one: str, other: str) -> bool:
        """Whether two paths are of one object; a path that is not there is of none."""
        known = self.model.paths
        return other in known and self.model.number(one) == self.model.number(other)

    def _link(self, mark: str) -> dict[str, Any] | None:
        source, target = self._any("regular"), self._free(_NAMES)
        return {"from": source, "to": target} if source and target else None

    def _symlink(self, mark: str) -> dict[str, Any] | None:
        target = self._free(_NAMES)
        text = mark if self.random.random() < 0.5 else f"{mark}-{'x' * 80}"
        return {"from": text, "to": target} if target else None

    def _unlink(self, mark: str) -> dict[str, Any] | None:
        path = self._any(self.random.choice(("regular", "regular", "symlink")))
        return {"path": path} if path else None

    def _rmdir(self, mark: str) -> dict[str, Any] | None:
        path = self._any("directory")
        return {"path": path} if path and self.model.is_empty(path) else None

    def _append(self, mark: str) -> dict[str, Any] | None:
        path, size = self._any("regular"), self.random.choice(_SIZES[1:])
        return {"path": path, "size": size, "mark": mark} if path else None

    def _overwrite(self, mark: str) -> dict[str, Any] | None:
        path = self._any("regular")
        if path is None or self.model.size(path) < 1024:
            return None
        offset = 512 * self.random.randrange(self.model.size(path) // 1024)
        size = self.random.choice((512, 4096))
        size = min(size, self.model.size(path) - offset)
        return {"path": path, "offset": offset, "size": size, "mark": mark}

    def _truncate(self, mark: str) -> dict[str, Any] | None:
        path = self._any("regular")
        return {"path": path, "size": self.random.choice((0, 10, 5000))} if path else None

    def _chmod(self, mark: str) -> dict[str, Any] | None:
        path = self._any(self.random.choice(("regular", "directory")))
        mode = self.random.choice(("0600", "0640", "0700", "0755"))
        return {"path": path, "mode": mode} if path else None

    def _chown(self, mark: str) -> dict[str, Any] | None:
        path = self._any(self.random.choice(("regular", "directory")))
        owner = self.random.randrange(1, 60000)
        return {"path": path, "uid": owner, "gid": owner + 1} if path else None

    def _fsync(self, mark: str) -> dict[str, Any] | None:
        path = self._any(self.random.choice(("regular", "directory")))
        return {"path": path} if path else None

    def _sync(self, mark: str) -> dict[str, Any]:
        return {}


def stress(
    seed: int,
    count: int,
    weights: Mapping[str, int] = WEIGHTS,
    *,
    start: Iterable[Thing] = FRESH,
    number: int = 1,
) -> tuple[Step, ...]:
    """`count` operations; the same arguments give the same ones on every machine.

    `start` is what there is before; `number` is that of the run on this file system, so that no
    two runs write the same.
    """
    draw = _Draw(seed if number == 1 else f"{seed} {number}", weights, start)
    mark = f"{number}w" if number > 1 else "w"
    return tuple(draw.step(place, f"{mark}{place}") for place in range(count))
