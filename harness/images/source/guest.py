"""From a recipe of kind hurd-source to a guest in the cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from harness.errors import UsageError
from harness.images import keys
from harness.images.cache import Cache, Progress
from harness.images.image import Image
from harness.images.manifest import Manifest, ModuleRecord, file_hash, now
from harness.images.recipe import SourceRecipe
from harness.images.source import host, hurd, native, root, toolchain
from harness.images.source.apt import AptArchive, PrivateApt, host_mirror, host_suites
from harness.images.source.fetch import Fetcher
from harness.images.source.kernel import kernel
from harness.images.source.programs import own, program
from harness.images.source.sources import CommitSource, DirSource, GitSource, Source
from harness.images.source.stage import Stage, digest_text
from harness.images.source.workshop import Result, Workshop
from harness.process import run

#: changes when this module or root.py makes another image of the same results
_FORMAT = "1"


def plan(recipe: SourceRecipe) -> list[Stage]:
    """The stages of the guest, each after those that it needs."""
    source = recipe.hurd.where
    other = [
        hurd.ext2fs(name, where)
        for name, each in recipe.ext2fs.items()
        if (where := second_hurd(each.where, source))
    ]
    return [
        toolchain.gcc(recipe.gcc.where),
        toolchain.mach_headers(recipe.gnumach_headers.where),
        toolchain.mig(recipe.mig.where),
        hurd.headers(source),
        toolchain.glibc(recipe.glibc.where),
        toolchain.libgcc(),
        kernel(recipe.gnumach.where),
        hurd.servers(source),
        *other,
        *(program(name, each.where) for name, each in recipe.programs.items()),
        *([own(recipe.own)] if recipe.own else ()),
        *(
            native.native(recipe.native, recipe.gcc.where, recipe.mig.where)
            if recipe.native
            else ()
        ),
    ]


def second_hurd(wanted: Source | CommitSource, first: Source) -> Source | None:
    """The source of a second Hurd; None for a commit that the first one's tree does not have.

    A local tree need not be a repository, and a guest without that second ext2fs is one all the
    same.
    """
    if not isinstance(wanted, CommitSource):
        return wanted
    if isinstance(first, GitSource):
        return GitSource(first.url, wanted.commit)
    if isinstance(first, DirSource):
        ask = ["git", "-C", str(first.path), "cat-file", "-e", f"{wanted.commit}^{{commit}}"]
        if (first.path / ".git").exists() and run(ask, ok=None).returncode == 0:
            return GitSource(str(first.path), wanted.commit)
    return None


def made_from(recipe: SourceRecipe) -> str:
    """What ties a recipe to its images: all but the sources.

    So a run takes the image that was built last, from whatever tree, without looking at that tree
    again; the image's versions say which it was.
    """
    root_part = recipe.root.model_dump(mode="json", exclude={"put"})
    root_part["put"] = {name: file_hash(path) for name, path in recipe.root.put.items()}
    parts = [_FORMAT, recipe.name, root_part, dict(recipe.modules)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def build_source(recipe: SourceRecipe, cache: Cache, progress: Progress) -> Image:
    """The image of the recipe, built as far as the cache lacks its parts.

    From nothing it takes half an hour on two idle cores and 2 GB of disk; an edit of one file of
    ext2fs takes 14 s.
    """
    host.check()
    _need_hurd(recipe.hurd.where)
    folder = cache.folder / "source"
    results = _workshop(recipe, folder, progress).build(plan(recipe))
    recipe_hash = made_from(recipe)
    key = digest_text(recipe_hash, *(r.digest for r in results.values()))[:24]
    with cache.building(recipe.name, progress) as draft:
        same = cache.find_intact(recipe.name, progress, key=key)
        if same is None:
            progress("making the root image")
            _assemble(recipe, results, draft)
        elif same == cache.find_intact(recipe.name, progress, made_from=recipe_hash):
            progress(f"{recipe.name} is up to date")
            return same
        else:
            # The tree went back to what it was.  A run takes the image that was built last.
            shutil.copytree(same.folder, draft, copy_function=os.link, dirs_exist_ok=True)
            (draft / "manifest.json").unlink()
        return cache.publish(draft, _manifest(recipe, results, key))


def _need_hurd(source: Source) -> None:
    """`UsageError` for a folder of something else: the stage that saw it would fail, late."""
    sign = "libdiskfs/diskfs.h"
    if isinstance(source, DirSource) and source.path.is_dir() and not (source.path / sign).exists():
        raise UsageError(
            f"{source.path} is no tree of the Hurd: it has no {sign}",
            hint="name the folder that has Hurd's configure.ac: --set hurd.source=dir:PATH",
        )


def fetch_source(recipe: SourceRecipe, cache: Cache, progress: Progress) -> None:
    """Bring the sources of all stages into the cache (150 MB of packages) and verify them."""
    _workshop(recipe, cache.folder / "source", progress).fetch(plan(recipe))


def _manifest(recipe: SourceRecipe, results: Mapping[str, Result], key: str) -> Manifest:
    modules = (ModuleRecord(file=name, args=args) for name, args in recipe.modules.items())
    return Manifest(
        name=recipe.name,
        key=key,
        made_from=made_from(recipe),
        built=now(),
        kernel="gnumach",
        cmdline=recipe.boot.cmdline,
        modules=tuple(modules),
        root="root.img",
        private_key=keys.PRIVATE_KEY,
        host_key=keys.HOST_KEY,
        versions={name: _version(r) for name, r in results.items() if r.version},
    )


def _version(result: Result) -> str:
    """The version of a component, and what hurdle has changed in it where that matters."""
    notes = result.out / "notes"
    return f"{result.version} ({notes.read_text().strip()})" if notes.exists() else result.version


def _workshop(recipe: SourceRecipe, folder: Path, progress: Progress) -> Workshop:
    mirror, keyring = recipe.archive.mirror or host_mirror(), recipe.archive.keyring
    archive = AptArchive(mirror, (recipe.archive.suite,), keyring)
    of_host = None
    if recipe.native:
        of_host = PrivateApt(folder / "apt-host", AptArchive(mirror, host_suites(), keyring))
    fetcher = Fetcher(folder, PrivateApt(folder / "apt", archive), of_host)
    jobs = len(os.sched_getaffinity(0))
    return Workshop(folder, fetcher, jobs=jobs, say=progress)


def _assemble(recipe: SourceRecipe, results: Mapping[str, Result], draft: Path) -> None:
    """Write kernel, boot modules and root image into `draft`."""
    tree = draft / "tree"
    for name in recipe.root.folders:
        (tree / name.lstrip("/")).mkdir(parents=True, exist_ok=True)
    for name in recipe.root.empty:
        (tree / name.lstrip("/")).touch()
    _take_libraries(results, tree / "lib")
    built = [r.out / "root" for r in results.values()]
    root.assemble([path for path in built if path.exists()], recipe.root.put, tree)
    root.strip(tree)
    for result in results.values():
        if (result.out / "native").exists():  # already stripped, and wanted as it is
            shutil.copytree(result.out / "native", tree, symlinks=True, dirs_exist_ok=True)
    for name, target in recipe.root.links.items():
        root.link(tree, name, target)
    _put_secrets(tree, draft)
    shutil.copyfile(results["gnumach"].out / "boot/gnumach", draft / "gnumach")
    for module in recipe.modules:
        shutil.copyfile(tree / "hurd" / module, draft / module)
    nodes = [root.parse_node(line) for line in recipe.root.nodes]
    root.make_image(tree, nodes, draft / "root.img", recipe.root.size_mib)
    shutil.rmtree(tree)


def _take_libraries(results: Mapping[str, Result], lib: Path) -> None:
    """The shared objects of C library and compiler; a linker script among them is no use here."""
    for name, folder in (("glibc", "tools/sysroot/lib"), ("libgcc", "tools/i686-gnu/lib")):
        for path in (results[name].out / folder).glob("*.so*"):
            if path.is_symlink() or root.is_elf(path):
                shutil.copy(path, lib / path.name, follow_symlinks=False)


def _put_secrets(tree: Path, draft: Path) -> None:
    """The image's SSH keys on both sides, and what the guest's random numbers start from."""
    host_key, user = keys.KeyPair.generate(), keys.KeyPair.generate()
    keys.write_keys(draft, host_key, user)
    for name, content in (
        ("etc/dropbear/dropbear_ed25519_host_key", keys.dropbear(host_key)),
        ("root/.ssh/authorized_keys", user.public),
        ("var/lib/random-seed", os.urandom(64)),
    ):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(content)
    (tree / "root/.ssh").chmod(0o700)
