"""What a crash left, as the next run begins with it."""

from __future__ import annotations

import os
from pathlib import Path

from harness.campaign.again import things
from harness.process import run


def test_a_sound_file_system_is_read_with_its_links_and_bytes(tmp_path: Path) -> None:
    tree, image = tmp_path / "tree", tmp_path / "image.raw"
    (tree / "d").mkdir(parents=True)
    data = b"first\n" * 3000  # with an indirect block
    (tree / "d/a").write_bytes(data * 4)
    os.link(tree / "d/a", tree / "b")
    (tree / "s").symlink_to("d/a")
    (tree / "d").chmod(0o750)
    size = str(8 << 20)
    run(["truncate", "-s", size, str(image)])
    run(["mke2fs", "-q", "-F", "-t", "ext3", "-b", "4096", "-d", str(tree), str(image)])
    found = {name: thing for thing in things(image) for name in thing.names}
    assert set(found) == {"", "lost+found", "d", "d/a", "b", "s"}
    assert found["b"] is found["d/a"] and found["b"].data == data * 4
    assert (found["d"].kind, found["d"].mode, found["s"].target) == ("directory", 0o750, "d/a")
