"""The plan of a guest from source: sources, stages and their keys, apt's answers, nodes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from harness.errors import InfraError, UsageError
from harness.images.recipe import SourceRecipe, load_recipe
from harness.images.source import host
from harness.images.source.apt import AptArchive, apt_conf, parse_uris, sources_list
from harness.images.source.fetch import version_of
from harness.images.source.guest import made_from, plan, second_hurd
from harness.images.source.root import node_commands, parse_node
from harness.images.source.sources import (
    AptSource,
    CommitSource,
    DebSource,
    DirSource,
    GitSource,
    HostSource,
    OrigSource,
    parse_source,
)
from harness.images.source.stage import NOTES, Edit, tree_digest


def recipe(name: str = "hurd-i386-source", **settings: str) -> SourceRecipe:
    loaded = load_recipe(name, {k.replace("__", "."): v for k, v in settings.items()})
    assert isinstance(loaded, SourceRecipe)
    return loaded


@pytest.mark.parametrize(
    "text, source",
    [
        ("apt:mig", AptSource("mig")),
        ("orig:tar", OrigSource("tar")),
        ("host:g++", HostSource("g++")),
        ("deb:gcc-14-source", DebSource("gcc-14-source")),
        ("dir:/some/tree", DirSource(Path("/some/tree"))),
        ("commit:bc8ac23d", CommitSource("bc8ac23d")),
        ("git:https://host/x.git@v1.2", GitSource("https://host/x.git", "v1.2")),
        ("git:ssh://me@host/x@abc", GitSource("ssh://me@host/x", "abc")),
    ],
)
def test_a_source_is_one_field(text: str, source: object) -> None:
    assert parse_source(text) == source


@pytest.mark.parametrize(
    "text",
    ["", "mig", "apt:", "apt:-o", "git:https://host/x", "git:u@--x", "git:--upload@x", "ftp:x"],
)
def test_what_is_no_source_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no source"):
        parse_source(text)


def test_a_wrong_source_names_file_and_line() -> None:
    with pytest.raises(UsageError, match=r"hurd-i386-source.yaml:\d+: hurd.source"):
        recipe(hurd__source="nowhere")


def test_only_a_second_hurd_can_be_a_commit_of_the_first() -> None:
    with pytest.raises(UsageError, match="second Hurd"):
        recipe(hurd__source="commit:abc")


@pytest.mark.parametrize("name", ["hurd-i386-source", "hurd-i386-source-dev"])
def test_every_stage_comes_after_what_it_needs(name: str) -> None:
    seen: set[str] = set()
    for stage in plan(recipe(name)):
        assert set(stage.needs) <= seen, stage.name
        seen.add(stage.name)
    assert {"gcc", "glibc", "hurd", "ext2fs-vanilla", "gnumach", "bash"} <= seen


#: of packages that every Debian has (Essential: yes), and words of the shell
_ALWAYS = {
    *("cat", "chmod", "cp", "env", "find", "grep", "install", "ln", "mkdir", "mv", "printf", "rm"),
    *("sed", "sh", "sort", "tar", "touch", "xargs", "zcat"),
    *(":", "[", "case", "cd", "command", "compile", "do", "done", "echo", "esac", "exec"),
    *("exit", "for", "pwd", "set", "shift", "test", "word"),
}


def _called(command: str) -> set[str]:
    """First words of the simple commands in a step, less what is addressed by path."""
    lexer = shlex.shlex(command.replace("\n", " ; "), posix=True, punctuation_chars=";&|()<>")
    lexer.whitespace_split, lexer.commenters = True, ""
    found, first = set(), True
    for word in lexer:
        if set(word) <= set(";&|()") or word in ("do", "then", "else", "{"):
            first = True
        elif first and not re.match(r"[A-Za-z_]+=", word):
            found.add(word)
            first = False
    return {word for word in found if re.fullmatch(r"[a-z][a-z0-9+-]*|:|\[", word)}


@pytest.mark.parametrize("kernel", ["deb:gnumach-image-1.8-486-up", "dir:/some/gnumach"])
def test_the_host_is_asked_for_every_program_that_a_step_calls(kernel: str) -> None:
    steps = {
        f"{stage.name}, {step.name}": _called(step.command)
        for stage in plan(recipe("hurd-i386-source-dev", gnumach__source=kernel))
        for step in stage.steps
    }
    assert "make" in steps["glibc, make"] and "tar" in steps["gxx, unpack"]
    assert "g++" in steps["gxx, compiler"]
    for name, called in steps.items():
        programs = {"autoconf" if word == "autoreconf" else word for word in called}  # one package
        unknown = programs - _ALWAYS - set(host.PROGRAMS)
        assert not {word for word in unknown if not word.startswith("i686-gnu-")}, name


def test_the_guest_with_a_compiler_has_all_stages_of_the_other_as_they_are() -> None:
    base, more = plan(recipe()), plan(recipe("hurd-i386-source-dev"))
    assert more[: len(base)] == base
    added = {stage.name: stage for stage in more[len(base) :]}
    assert {"native-gcc", "native-binutils", "native-mig", "native-libraries"} <= set(added)
    cross = next(stage for stage in base if stage.name == "gcc")
    assert added["native-gcc"].source == cross.source


def test_every_compiler_makes_the_same_code() -> None:
    """Options that code depends on are those of the cross compiler."""
    stages = {stage.name: stage for stage in plan(recipe("hurd-i386-source-dev"))}
    said = {name: stages[name].steps[0].command for name in ("gcc", "native-gcc")}
    for option in ("--target=i686-gnu", "--with-arch=i686", "--enable-threads=posix"):
        assert all(option in command for command in said.values())
    assert all(stages[name].edits == stages["gcc"].edits for name in said)


def test_an_unknown_program_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="emacs") as caught:
        plan(recipe(programs__emacs__source="apt:emacs"))
    assert "coreutils" in str(caught.value.hint)


def test_a_kernel_from_a_tree_gets_drivers_and_the_flush_that_it_lacks(tmp_path: Path) -> None:
    (stage,) = (s for s in plan(recipe(gnumach__source="dir:/tree")) if s.name == "gnumach")
    (configure,) = (step for step in stage.steps if step.name == "configure")
    assert "--enable-ide" in configure.command and "--enable-ne2k-pci" in configure.command
    glue = tmp_path / "linux/dev/glue/block.c"
    glue.parent.mkdir(parents=True)
    function = (
        "device_set_status (void *d)\n{\n  switch (flavor)\n    {\n      case OTHER:\n    }\n}\n"
    )
    glue.write_text(function)
    (flush,) = (edit for edit in stage.edits if edit.path.endswith("block.c"))
    flush.apply(tmp_path)
    flushing = glue.read_text()
    assert flushing.index("switch") < flushing.index("case DEV_FLUSH_CACHE") < flushing.index("OTH")
    assert "ide_flush_cache (bd->dev)" in flushing
    assert (tmp_path / NOTES).read_text() == "patched by hurdle: flushes of IDE disks\n"
    flush.apply(tmp_path)  # now it has one
    assert glue.read_text() == flushing
    assert (tmp_path / NOTES).read_text().count("patched") == 1
    glue.write_text("device_set_status_of_another_shape ();\n")
    with pytest.raises(InfraError, match=r"block\.c matches nothing"):
        flush.apply(tmp_path)


def test_debian_s_kernel_is_taken_as_it_is() -> None:
    (stage,) = (s for s in plan(recipe()) if s.name == "gnumach")
    assert not stage.edits and not stage.needs


def test_a_guest_can_do_without_hurdle_s_own_programs() -> None:
    names = [stage.name for stage in plan(recipe())]
    assert names[-1] == "own"
    assert "own" not in [stage.name for stage in plan(recipe(own="null"))]


def test_a_second_hurd_comes_from_the_repository_of_the_first(tmp_path: Path) -> None:
    commit = CommitSource("abc")
    assert second_hurd(commit, GitSource("url", "xyz")) == GitSource("url", "abc")
    assert second_hurd(commit, DirSource(tmp_path)) is None
    assert second_hurd(commit, AptSource("hurd")) is None
    assert second_hurd(DirSource(tmp_path), AptSource("hurd")) == DirSource(tmp_path)


def test_a_run_finds_the_image_whatever_it_was_built_from() -> None:
    assert made_from(recipe()) == made_from(recipe(hurd__source="dir:/tree"))
    assert made_from(recipe()) != made_from(recipe(root__size_mib="64"))


URIS = """\
Reading package lists...
'http://host/pool/d/dash_0.5.12-12.dsc' dash_0.5.12-12.dsc 1999 SHA256:aa
'http://host/pool/d/dash_0.5.12.orig.tar.gz' dash_0.5.12.orig.tar.gz 246054 SHA256:bb
'http://host/pool/d/dash_0.5.12-12.debian.tar.xz' dash_0.5.12-12.debian.tar.xz 41884 SHA256:cc
"""


def test_apt_lists_files_with_hashes() -> None:
    files = parse_uris(URIS)
    assert [f.name for f in files][1:] == [
        "dash_0.5.12.orig.tar.gz",
        "dash_0.5.12-12.debian.tar.xz",
    ]
    assert files[1].size == 246054
    assert files[1].digest == "SHA256:bb"
    assert version_of(files[1:]) == "0.5.12-12"


def test_the_version_of_a_package_is_in_its_name() -> None:
    text = "'http://host/gnumach-dev_2%3a1.8+git1-1_i386.deb' {} 5 SHA256:aa"
    named = parse_uris(text.format("gnumach-dev_2%3a1.8+git1-1_i386.deb"))
    assert version_of(named) == "1.8+git1-1"


def test_apt_keeps_to_its_folder_and_checks_signatures() -> None:
    conf = apt_conf(Path("/private"))
    assert all('"/private' in line for line in conf.splitlines() if line.startswith("Dir::"))
    lines = sources_list(AptArchive("http://host/debian", ("sid",), Path("/key.gpg")))
    assert lines.count("signed-by=/key.gpg") == 2
    assert "trusted" not in lines
    two = sources_list(AptArchive("http://host/debian", ("sid", "trixie"), Path("/key.gpg")))
    assert two.startswith(lines) and two.count(" trixie main") == 2


def test_an_edit_that_matches_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("one\ntwo\n")
    Edit("a.c", r"^t\w+$", "2").apply(tmp_path)
    assert (tmp_path / "a.c").read_text() == "one\n2\n"
    with pytest.raises(InfraError, match=r"a\.c matches nothing"):
        Edit("a.c", "three", "3").apply(tmp_path)


def test_a_tree_is_known_by_names_contents_links_and_modes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    digests = [tree_digest(tmp_path)]
    (tmp_path / "a").chmod(0o755)
    digests.append(tree_digest(tmp_path))
    (tmp_path / "l").symlink_to("a")
    digests.append(tree_digest(tmp_path))
    (tmp_path / "b").write_text("x")
    digests.append(tree_digest(tmp_path))
    assert len(set(digests)) == 4
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/x").touch()
    assert tree_digest(tmp_path) == digests[-1]
    assert tree_digest(tmp_path, exclude=("b",)) == digests[-2]


def test_a_node_is_made_with_its_translator() -> None:
    node = parse_node("c 0600 /dev/console /hurd/term /dev/console device console")
    assert node.record == b"/hurd/term\0/dev/console\0device\0console\0"
    assert node_commands(node, Path("/r")) == [
        "cd /dev",
        "mknod console c 0 0",
        "cd /",
        "set_inode_field /dev/console mode 020600",
        "ea_set -f /r /dev/console gnu.translator",
    ]
    assert node_commands(parse_node("d 0555 /proc /hurd/procfs -c"), Path("/r"))[0] == "mkdir /proc"


@pytest.mark.parametrize("line", ["c 0600 /dev/x", "p 0600 /dev/x /hurd/y", "c 0600 dev/x /hurd/y"])
def test_what_is_no_node_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="no node"):
        parse_node(line)
