"""The cache of images: found by content, published whole, damage explained."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from harness.errors import InfraError
from harness.images.builders import build_image, fetch_image
from harness.images.cache import Cache
from harness.images.manifest import InjectRecord, InstalledRecord, Manifest, ModuleRecord
from harness.images.parts import Part, free, sizes
from harness.images.recipe import load_recipe
from harness.locked import locked


def _say(_: str) -> None: ...


def _manifest(key: str, *, made_from: str = "recipe", built: str = "2026-01-01") -> Manifest:
    return Manifest(name="guest", key=key, made_from=made_from, built=built, kernel="kernel")


def _publish(cache: Cache, key: str, content: str = "k", **fields: str) -> None:
    with cache.building("guest", _say) as draft:
        (draft / "kernel").write_text(content)
        cache.publish(draft, _manifest(key, **fields))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_the_environment_chooses_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.delenv("HURDLE_CACHE", raising=False)
    assert Cache.default().folder == Path("/somewhere/hurdle")
    monkeypatch.setenv("HURDLE_CACHE", "/elsewhere")
    assert Cache.default().folder == Path("/elsewhere")


def test_an_empty_cache_has_nothing_and_makes_nothing(cache: Cache) -> None:
    assert cache.find("guest") is None
    assert cache.list() == ()
    assert not cache.folder.exists()


def test_all_of_an_image_survives_the_manifest(cache: Cache) -> None:
    with cache.building("guest", _say) as draft:
        for name in ("kernel", "module", "root", "translator", "key", "host"):
            (draft / name).write_text(name)
        wanted = Manifest(
            name="guest",
            key="aa",
            made_from="recipe",
            built="2026-01-01",
            kernel="kernel",
            cmdline="root=x",
            modules=(ModuleRecord(file="module", args="--a ${b}"),),
            root="root",
            root_format="qcow2",
            inject=(InjectRecord(file="translator", guest_path="/hurd/ext2fs"),),
            private_key="key",
            host_key="host",
            versions={"hurd": "0.9"},
        )
        cache.publish(draft, wanted)
    image = cache.find("guest")
    assert image is not None and image.root is not None and image.ssh is not None
    assert image.boot.modules == ((image.folder / "module", "--a ${b}"),)
    assert image.root.inject == ((image.folder / "translator", "/hurd/ext2fs"),)
    assert (image.root.format, image.boot.cmdline) == ("qcow2", "root=x")
    assert image.ssh.private_key.read_text() == "key"
    assert image.versions == {"hurd": "0.9"}


def test_the_newest_image_of_a_recipe_is_current(cache: Cache) -> None:
    _publish(cache, "old", built="2026-01-01")
    _publish(cache, "new", built="2026-02-01")
    _publish(cache, "other", built="2026-01-15", made_from="another recipe")
    found = cache.find("guest", made_from="recipe")
    assert found is not None and found.key == "new"
    assert [(image.key, image.state) for image in cache.list()] == [
        ("new", "current"),
        ("other", "older"),
        ("old", "older"),
    ]
    assert cache.find("guest", made_from="a third") is None


def test_a_build_that_fails_leaves_nothing(cache: Cache) -> None:
    with pytest.raises(RuntimeError), cache.building("guest", _say) as draft:
        (draft / "kernel").write_text("half")
        raise RuntimeError
    assert cache.find("guest") is None
    assert list((cache.folder / "images").iterdir()) == []


def test_what_a_killed_builder_left_goes_with_the_next_build(cache: Cache) -> None:
    left = cache.folder / "images" / "guest" / ".draft-xyz"
    left.mkdir(parents=True)
    (left / "kernel").write_text("half")
    assert cache.list() == ()
    _publish(cache, "aa")
    assert not left.exists()
    assert [image.key for image in cache.list()] == ["aa"]


def test_two_builders_take_turns(cache: Cache) -> None:
    said: list[str] = []
    done = threading.Event()

    def second() -> None:
        with cache.building("guest", said.append):
            assert cache.find("guest") is not None  # the first one's image
        done.set()

    with cache.building("guest", _say) as draft:
        thread = threading.Thread(target=second)
        thread.start()
        assert not done.wait(0.3)
        (draft / "kernel").write_text("k")
        cache.publish(draft, _manifest("aa"))
    assert done.wait(5)
    thread.join()
    assert said == ["another hurdle builds guest; waiting for it"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "kernel").unlink(), "kernel is missing"),
        (lambda folder: (folder / "kernel").write_text("kk"), "has 2 bytes, not 1"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "can't be read"),
        (lambda folder: (folder / "manifest.json").unlink(), "can't be read"),
    ],
)
def test_damage_is_found_and_explained(cache: Cache, damage: object, message: str) -> None:
    _publish(cache, "aa")
    assert callable(damage)
    damage(cache.folder / "images" / "guest" / "aa")
    with pytest.raises(InfraError, match=message) as caught:
        cache.find("guest")
    assert "hurdle image build guest" in str(caught.value.hint)
    assert message in cache.list()[0].state
    assert cache.find_intact("guest", _say) is None


def test_a_changed_byte_is_found_by_verifying(cache: Cache) -> None:
    _publish(cache, "aa")
    (cache.folder / "images/guest/aa/kernel").write_text("x")
    assert cache.find("guest") is not None
    assert cache.list()[0].state == "current"
    assert "SHA-256" in cache.list(verify=True)[0].state


def test_a_damaged_image_hides_no_good_one_and_can_be_made_anew(cache: Cache) -> None:
    _publish(cache, "aa")
    (cache.folder / "images/guest/aa/manifest.json").write_text("{")
    _publish(cache, "bb")
    found = cache.find("guest")
    assert found is not None and found.key == "bb"
    _publish(cache, "aa", content="mended", built="2027")
    found = cache.find("guest")
    assert found is not None and found.boot.kernel is not None
    assert found.boot.kernel.read_text() == "mended"


def test_a_manifest_of_another_image_is_damage(cache: Cache) -> None:
    _publish(cache, "aa")
    (cache.folder / "images/guest/aa").rename(cache.folder / "images/guest/bb")
    with pytest.raises(InfraError, match="belongs to another image, aa"):
        cache.find("guest")


def test_removing_takes_all_or_one(cache: Cache) -> None:
    for key in ("aa", "bb", "cc"):
        _publish(cache, key)
    assert [image.key for image in cache.remove("guest", key="bb")] == ["bb"]
    assert sorted(image.key for image in cache.remove("guest")) == ["aa", "cc"]
    assert cache.remove("guest") == ()
    assert cache.find("guest") is None


@pytest.mark.parametrize(
    "error, explained",
    [
        (OSError(errno.ENOSPC, "full", "/elsewhere"), True),
        (PermissionError(errno.EACCES, "forbidden", "CACHE/source/x"), True),
        (OSError(errno.EROFS, "read-only", b"CACHE/source/x"), True),
        (PermissionError(errno.EACCES, "forbidden", "/elsewhere"), False),
        (FileNotFoundError(errno.ENOENT, "no such file", "CACHE/source/x"), False),
        (OSError("of some library"), False),
    ],
)
def test_a_cache_that_cannot_be_written_is_told_from_a_fault_of_ours(
    cache: Cache, error: OSError, explained: bool
) -> None:
    if isinstance(error.filename, bytes):
        error.filename = error.filename.replace(b"CACHE", os.fsencode(cache.folder))
    elif error.filename:
        error.filename = error.filename.replace("CACHE", str(cache.folder))
    wanted = InfraError if explained else type(error)
    with pytest.raises(wanted) as caught, cache.writing():
        raise error
    assert not explained or "set HURDLE_CACHE" in str(getattr(caught.value, "hint", ""))


@pytest.mark.parametrize("name", ["linux-control", "hurd-i386-source", "hurd-local"])
def test_every_kind_of_image_names_a_cache_that_cannot_be_made(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file/cache")
    for act in (build_image, fetch_image):
        with pytest.raises(InfraError, match="can't write the image cache"):
            act(load_recipe(name), cache, _say)


def test_who_waits_for_a_lock_is_told_and_not_for_ever(tmp_path: Path) -> None:
    said: list[str] = []
    with FileLock(tmp_path / "lock"):
        with (
            pytest.raises(InfraError, match="somebody works here, and has held") as caught,
            locked(tmp_path / "lock", "somebody works here", said.append, 0.1),
        ):
            raise AssertionError
        assert "fuser" in (caught.value.hint or "")
    assert said == ["somebody works here; waiting for it"]
    with locked(tmp_path / "lock", "somebody works here", said.append):
        assert len(said) == 1


def test_a_cache_that_is_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with (
        pytest.raises(InfraError, match="can't write the image cache") as caught,
        Cache(tmp_path / "cache").building("guest", _say),
    ):
        pass
    assert "HURDLE_CACHE" in str(caught.value.hint)


def test_pruning_keeps_what_a_rollback_goes_back_to(cache: Cache) -> None:
    for month in (1, 2, 3):
        _publish(cache, f"k{month}", built=f"2026-0{month}-01")
    record = InstalledRecord(sha256="aa", guest_path="/hurd/ext2fs", root=False)
    with cache.building("guest", _say) as draft:
        (draft / "kernel").write_text("k")
        manifest = _manifest("new", built="2026-04-01")
        cache.publish(draft, manifest.model_copy(update={"installed": {"ours": record}}))
    assert [each.state for each in cache.list()] == ["current", "for rollback", "older", "older"]
    assert {each.key for each in cache.prune(1)} == {"k1", "k2"}
    assert [each.key for each in cache.list()] == ["new", "k3"]


@pytest.mark.parametrize("part", list(Part))
def test_parts_beside_images_are_seen_and_freed(cache: Cache, part: Part) -> None:
    assert sizes(cache) == {} and free(part, cache) == 0
    inside = cache.folder / part / "some/thing"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(b"x" * 10_000)
    assert sizes(cache)[part] >= 10_000
    assert free(part, cache, dry_run=True) == sizes(cache)[part] and inside.exists()
    assert free(part, cache) >= 10_000
    assert sizes(cache).get(part, 0) < 10_000


def test_half_of_a_part_is_not_there_for_the_next_build(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage is known by its done.json: one left of a removal would pass for a whole result."""
    done = cache.folder / "source/stages/gcc/0123/done.json"
    done.parent.mkdir(parents=True)
    done.write_text("{}")

    def interrupted(folder: Path, ignore_errors: bool = False) -> None:
        if folder.exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            free(Part.SOURCE, cache)
    assert not done.exists()
    free(Part.SOURCE, cache)
    assert [path.name for path in (cache.folder / "source").iterdir()] == ["lock"]


@pytest.mark.parametrize("part", [Part.SOURCE, Part.VARIANTS])
def test_a_part_in_use_is_not_freed(cache: Cache, part: Part) -> None:
    folder = cache.folder / part
    folder.mkdir(parents=True)
    (folder / "stage").write_text("x")
    with FileLock(folder / "lock"), pytest.raises(InfraError, match="another hurdle"):
        free(part, cache)
    assert (folder / "stage").exists()
