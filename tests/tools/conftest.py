"""What several tests begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.campaign.case import Case
from tests.tools.cases import (
    before_and_after,
    case,
    journaled,
)
from tests.tools.images import folder_in_memory
from tests.tools.small_tree import Work


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as found:
        yield found


@pytest.fixture
def good(folder: Path) -> Case:
    base, changed = before_and_after(folder, "ext3")
    return case(folder, base, journaled(base, changed, folder))


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)
