"""Downloads from a server that redirects, cuts off, forgets ranges, changes its file or lies."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from harness.errors import InfraError, UsageError
from harness.images.meter import no_meter
from harness.images.preinstalled.download import Wanted, download
from harness.images.preinstalled.spec import Checksum
from tests.tools.image_server import Site, serving
from tests.tools.installed_disk import pack

pytestmark = pytest.mark.tools

PATH = "/file.tar"
DATA = random.Random(1).randbytes(3_000_000)
OTHER = random.Random(2).randbytes(2_900_000)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as made:
        made.files[PATH] = DATA
        yield made


def checksum(data: bytes) -> Checksum:
    return Checksum("sha256", hashlib.sha256(data).hexdigest())


class Fetch:
    """A download into a folder of the test's own."""

    def __init__(self, site: Site, folder: Path, data: bytes = DATA, path: str = PATH) -> None:
        self.wanted = Wanted(site.url + path, folder / "file.tar", checksum(data))
        self.said: list[str] = []
        self.waited: list[float] = []

    def __call__(self) -> bytes:
        download(self.wanted, self.said.append, no_meter, self.waited.append)
        left = {path.name for path in self.wanted.target.parent.iterdir()}
        assert left <= {"file.tar", "file.tar.lock"}
        return self.wanted.target.read_bytes()


def test_a_second_download_says_that_it_waits_for_the_first(site: Site, tmp_path: Path) -> None:
    fetch = Fetch(site, tmp_path)
    first = FileLock(tmp_path / "file.tar.lock")
    first.acquire()

    def say(text: str) -> None:
        fetch.said.append(text)
        first.release()

    download(fetch.wanted, say, no_meter, fetch.waited.append)
    assert fetch.said[0] == "another hurdle fetches file.tar; waiting for it"
    assert fetch.wanted.target.read_bytes() == DATA


def test_redirects_are_followed_and_the_real_address_is_told(site: Site, tmp_path: Path) -> None:
    site.redirects |= {"/latest": "/middle", "/middle": f"{site.url}{PATH}"}
    fetch = Fetch(site, tmp_path, path="/latest")
    assert fetch() == DATA
    assert any(line.startswith(f"fetching {site.url}{PATH}") for line in fetch.said)


def test_a_file_that_is_there_is_verified_and_not_fetched_again(site: Site, tmp_path: Path) -> None:
    fetch = Fetch(site, tmp_path)
    fetch()
    assert fetch() == DATA
    assert len(site.log) == 1
    fetch.wanted.target.write_bytes(OTHER)
    assert fetch() == DATA
    assert len(site.log) == 2


@pytest.mark.parametrize("lengths", [True, False])
def test_a_cut_connection_is_resumed_where_it_broke(
    site: Site, tmp_path: Path, lengths: bool
) -> None:
    site.lengths = lengths
    site.cuts[PATH] = [1_000_000, 500_000] if lengths else []
    fetch = Fetch(site, tmp_path)
    assert fetch() == DATA
    ranges = [wanted for _, wanted in site.log]
    assert ranges == (["", "bytes=1000000-", "bytes=1500000-"] if lengths else [""])


def test_a_download_that_was_given_up_goes_on_with_the_next_call(
    site: Site, tmp_path: Path
) -> None:
    site.cuts[PATH] = [1_000_000, 0, 0, 0, 0]
    fetch = Fetch(site, tmp_path)
    with pytest.raises(InfraError, match="can't fetch") as caught:
        fetch()
    assert "--mirror" in str(caught.value.hint)
    assert fetch.waited == [1.0, 2.0, 4.0, 8.0]
    site.log.clear()
    assert fetch() == DATA
    assert site.log == [(PATH, "bytes=1000000-")]


def test_a_server_without_ranges_sends_all_of_it_again(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    site.cuts[PATH] = [1_000_000]
    assert Fetch(site, tmp_path)() == DATA
    assert len(site.log) == 2


def test_a_file_that_changed_meanwhile_is_fetched_as_a_whole(site: Site, tmp_path: Path) -> None:
    site.cuts[PATH] = [1_000_000]
    site.on_cut[PATH] = OTHER
    assert Fetch(site, tmp_path, OTHER)() == OTHER
    assert [wanted for _, wanted in site.log] == ["", "bytes=1000000-"]


def test_a_server_that_ignores_if_range_is_seen_by_its_etag(site: Site, tmp_path: Path) -> None:
    site.if_range = False
    site.cuts[PATH] = [1_000_000]
    site.on_cut[PATH] = OTHER
    fetch = Fetch(site, tmp_path, OTHER)
    assert fetch() == OTHER
    assert any("the server now has another file" in line for line in fetch.said)


def test_pieces_of_two_files_that_nothing_tells_apart_fall_to_the_checksum(
    site: Site, tmp_path: Path
) -> None:
    site.etags[PATH] = '"always the same"'
    site.cuts[PATH] = [1_000_000]
    site.on_cut[PATH] = OTHER
    fetch = Fetch(site, tmp_path, OTHER)
    assert fetch() == OTHER
    assert any("fetching it again as a whole" in line for line in fetch.said)


def test_a_part_that_is_longer_than_the_file_is_thrown_away(site: Site, tmp_path: Path) -> None:
    fetch = Fetch(site, tmp_path)
    fetch.wanted.part.write_bytes(DATA + b"more")
    assert fetch() == DATA


def test_a_part_that_is_whole_needs_no_byte_more(site: Site, tmp_path: Path) -> None:
    fetch = Fetch(site, tmp_path)
    fetch.wanted.part.write_bytes(DATA)
    assert fetch() == DATA
    assert site.log == [(PATH, f"bytes={len(DATA)}-")]


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.busy[PATH] = 2
    assert Fetch(site, tmp_path)() == DATA


def test_a_wrong_file_is_refused_and_not_kept(site: Site, tmp_path: Path) -> None:
    fetch = Fetch(site, tmp_path, OTHER)
    with pytest.raises(InfraError, match="not the file that is pinned") as caught:
        fetch()
    assert str(checksum(DATA)) in str(caught.value) and str(checksum(OTHER)) in str(caught.value)
    assert "image pin" in str(caught.value.hint)
    assert [path.name for path in tmp_path.iterdir()] == ["file.tar.lock"]
    assert len(site.log) == 1  # it came in one piece: no second try would help


def test_a_missing_file_is_not_tried_again(site: Site, tmp_path: Path) -> None:
    fetch = Fetch(site, tmp_path, path="/gone")
    with pytest.raises(UsageError, match="404") as caught:
        fetch()
    assert "download.path" in str(caught.value.hint)
    assert len(site.log) == 1


def test_nobody_at_the_address_is_told_after_some_tries(tmp_path: Path) -> None:
    with serving() as site:
        gone = Fetch(site, tmp_path)
    with pytest.raises(InfraError, match="can't fetch") as caught:
        gone()
    assert "check the network" in str(caught.value.hint)


_PROLOGUE = """
import sys
from pathlib import Path
from harness.errors import InfraError
from harness.images.cache import Cache
from harness.images.meter import no_meter
from harness.images.preinstalled.download import Wanted, download
from harness.images.preinstalled.spec import Checksum
from harness.images.preinstalled.unpack import unpack_image
folder = Path(sys.argv[1])
"""

_DOWNLOAD = """
wanted = Wanted(sys.argv[2], folder / "file.tar", Checksum.parse(sys.argv[3]))
try:
    with Cache(folder).writing():
        download(wanted, lambda text: None, no_meter, lambda seconds: None)
except InfraError as error:
    print(error, error.hint)
    print(wanted.part.stat().st_size if wanted.part.exists() else 0)
"""

_UNPACK = """
try:
    with Cache(folder).building("name", lambda text: None) as draft:
        unpack_image(Path(sys.argv[2]), "*.img", draft / "root.img", no_meter)
except InfraError as error:
    print(error, error.hint)
    print(len(Cache(folder).list()))
"""


def on_a_full_disk(folder: Path, script: str, *args: str) -> list[str]:
    """What a script says that works on a real disk of 1 MiB, mounted at `folder`."""
    mount = f'mount -t tmpfs -o size=1m none {folder} && exec "$@"'
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    try:
        subprocess.run([*inside, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a small disk of his own (user namespaces are off)")
    argv = [*inside, sys.executable, "-c", _PROLOGUE + script, str(folder), *args]
    here = Path(__file__).parents[2]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=here)
    return done.stdout.splitlines()


def test_a_full_disk_is_foreseen_where_the_length_is_known(site: Site, tmp_path: Path) -> None:
    said, kept = on_a_full_disk(tmp_path, _DOWNLOAD, f"{site.url}{PATH}", str(checksum(DATA)))
    assert "MiB free" in said and "HURDLE_CACHE" in said
    assert kept == "0"


def test_a_disk_that_fills_up_under_a_download_is_told(site: Site, tmp_path: Path) -> None:
    site.lengths = False
    said, kept = on_a_full_disk(tmp_path, _DOWNLOAD, f"{site.url}{PATH}", str(checksum(DATA)))
    assert "No space left" in said and "HURDLE_CACHE" in said
    assert int(kept) > 500_000  # it goes on from there when there is room


def test_a_disk_that_fills_up_under_the_unpacking_is_told(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(DATA)
    tarball, small = tmp_path / "it.tar", tmp_path / "small"
    pack(tmp_path / "disk.img", tarball)
    small.mkdir()
    said, left = on_a_full_disk(small, _UNPACK, str(tarball))
    assert "No space left" in said and "HURDLE_CACHE" in said
    assert left == "0"
