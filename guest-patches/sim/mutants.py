#!/usr/bin/env python3
"""Break the engine on purpose, and show which test notices.

mutants.txt holds the defects.  Each is compiled by itself, linked with the
rest, and run against the suites in turn until one fails.  A defect that no
suite notices is a missing test, and the exit status says so.
"""

# SPDX-License-Identifier: GPL-2.0-or-later

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
JOURNAL = HERE.parent / "journal"
# Of the Hurd's half what the host runs as well.
GLUE = HERE.parent / "glue" / "ext2fs"

# Short runs first: most defects do not live long.
BATTERY = [
    ["test-unit"],
    ["test-crash", "seeds=6", "subsets=3", "e2fsck=300"],
    ["test-fault", "seeds=5", "ops=20"],
    ["test-threads", "states=600", "set.daemons=on", "e2fsck=0"],
    ["test-threads", "states=600", "e2fsck=0", "seed=3"],
    ["test-wrap", "seeds=2", "ops=24", "subsets=3", "e2fsck=0"],
    ["test-format", "seeds=2"],
    ["test-crash", "seed=900", "seeds=40", "subsets=6", "e2fsck=0", "warm=400"],
    ["test-threads", "states=6000", "set.daemons=on", "e2fsck=0", "seed=5", "threads=8"],
]


@dataclass(frozen=True)
class Mutant:
    name: str
    edits: tuple[tuple[str, str, str], ...]  # file, old, new
    disk: bool  # a crash can show it on the disk


def read_mutants(path: Path) -> list[Mutant]:
    mutants = []
    for block in path.read_text().split("\n=== ")[1:]:
        name, _, rest = block.partition("\n")
        parsed = []
        for part in ("\n" + rest).split("\n--- ")[1:]:
            file, _, text = part.partition("\n")
            old, _, new = text.partition("\n+++")
            parsed.append((file.strip(), old, new.strip("\n")))
        if not parsed:
            raise SystemExit(f"{path}: {name}: no edit")
        plain, mark, _ = name.partition(" (disk)")
        mutants.append(Mutant(plain.strip(), tuple(parsed), bool(mark)))
    return mutants


def source_of(file: str) -> Path:
    return JOURNAL / file if (JOURNAL / file).exists() else GLUE / file


def mutate(mutant: Mutant) -> dict[str, str]:
    """The changed files, by name."""
    files: dict[str, str] = {}
    for file, old, new in mutant.edits:
        text = files.get(file) or source_of(file).read_text()
        if text.count(old) != 1:
            raise SystemExit(f"{mutant.name}: found {text.count(old)} times in {file}:\n{old}")
        files[file] = text.replace(old, new)
    return files


def build(mutant: Mutant, out: Path, work: Path) -> None:
    files = mutate(mutant)
    include = [f"-I{each}" for each in (JOURNAL, HERE, GLUE)]
    objects = [out / f"j-{c.stem}.o" for c in sorted(JOURNAL.glob("*.c")) if c.name not in files]
    for file, text in files.items():
        source = work / file
        source.write_text(text)
        obj = work / f"{source.stem}.o"
        # A defect may leave something unused: no warnings here.
        subprocess.run(
            ["gcc", "-std=gnu11", "-O2", "-g", "-w", *include, "-c", source, "-o", obj],
            check=True,
        )
        objects.append(obj)
    mains = ("s-test-", "s-unit-", "s-bench", "s-fuzz", "s-exchange", "s-replay")
    changed = {f"s-{Path(file).stem}.o" for file in files}
    sim = [
        o
        for o in sorted(out.glob("s-*.o"))
        if not o.name.startswith(mains) and o.name not in changed
    ]

    def units(test: str) -> list[Path]:
        return sorted(out.glob("s-unit-*.o")) if test == "test-unit" else []

    for test in sorted({row[0] for row in BATTERY}):
        subprocess.run(
            [
                "gcc",
                "-o",
                work / test,
                out / f"s-{test}.o",
                *objects,
                *sim,
                *units(test),
                "-lpthread",
            ],
            check=True,
        )


def run(mutant: Mutant, out: Path) -> tuple[str, str]:
    """The test that failed and what it said; empty if none did."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as tmp:
        work = Path(tmp)
        build(mutant, out, work)
        env = {**os.environ, "ENGINE_SCRATCH": tmp}
        for row in BATTERY:
            try:
                done = subprocess.run(
                    [work / row[0], *row[1:]], env=env, capture_output=True, text=True, timeout=100
                )
            except subprocess.TimeoutExpired:
                return " ".join(row), "it hung"
            if done.returncode:
                said = [line for line in done.stderr.splitlines() if line.strip()]
                return " ".join(row), said[-1] if said else f"status {done.returncode}"
    return "", ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="where the suites were built")
    parser.add_argument("names", nargs="*", help="only these")
    args = parser.parse_args()
    mutants = read_mutants(HERE / "mutants.txt")
    survivors = []
    wanted = [each for each in mutants if not args.names or each.name in args.names]
    for mutant in wanted:
        started = time.monotonic()
        test, said = run(mutant, args.out.resolve())
        if not test:
            survivors.append(mutant.name)
        print(f"{mutant.name:34} {time.monotonic() - started:5.1f} s  {test or 'SURVIVED'}")
        if said:
            print(f"{'':43}{said[:110]}")
        sys.stdout.flush()
    print(f"{len(wanted)} mutants, {len(survivors)} survived {' '.join(survivors)}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
