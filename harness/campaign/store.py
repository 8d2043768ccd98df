"""The results of a campaign: an SQLite file that is whole at every moment.

What belongs together (a content, its states and their verdicts) is written in one transaction, so
whatever is in the file is complete, and a campaign that was killed goes on behind it.  The file is
the only result: reports are made from it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.campaign.rows import Failure, LogOutline, StateRow, cause_of
from harness.errors import InfraError, UsageError
from harness.verdicts import CrashModel, Finding, FindingClass, Judgement, Oracle, Verdict

_VERSION = 3
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE cases (name TEXT PRIMARY KEY, variant TEXT NOT NULL, log TEXT NOT NULL);
CREATE TABLE planned (
  "case" TEXT NOT NULL, model TEXT NOT NULL, states INTEGER NOT NULL, PRIMARY KEY ("case", model)
) WITHOUT ROWID;
CREATE TABLE contents (
  "case" TEXT NOT NULL, number TEXT NOT NULL, state TEXT NOT NULL, tree TEXT NOT NULL,
  replayed INTEGER NOT NULL, quick INTEGER NOT NULL,
  PRIMARY KEY ("case", number)
) WITHOUT ROWID;
CREATE TABLE states (
  "case" TEXT NOT NULL, id TEXT NOT NULL, model TEXT NOT NULL, upto INTEGER NOT NULL,
  number TEXT NOT NULL, verdicts TEXT NOT NULL,
  PRIMARY KEY ("case", id)
) WITHOUT ROWID;
CREATE TABLE failures (
  "case" TEXT NOT NULL, id TEXT NOT NULL, oracle TEXT NOT NULL, reason TEXT NOT NULL,
  cause TEXT NOT NULL, op INTEGER NOT NULL, findings TEXT NOT NULL,
  PRIMARY KEY ("case", id, oracle)
) WITHOUT ROWID;
CREATE TABLE logs (
  "case" TEXT NOT NULL, oracle TEXT NOT NULL, verdict TEXT NOT NULL, reason TEXT NOT NULL,
  PRIMARY KEY ("case", oracle)
) WITHOUT ROWID;
CREATE TABLE seconds (phase TEXT PRIMARY KEY, seconds REAL NOT NULL, times INTEGER NOT NULL);
"""
_LETTERS = {Verdict.PASS: "P", Verdict.FAIL: "F", Verdict.VOID: "V", Verdict.INFRA: "I"}
_VERDICTS = {letter: verdict for verdict, letter in _LETTERS.items()}


class Store:
    """An open file of results; a context manager.  One process writes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        with self._errors():
            self._db = sqlite3.connect(self.path, isolation_level=None)
            # A killed process loses nothing that was committed; only the host's power could.
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            # Killed before its first transaction, a campaign leaves a file without a table.
            if not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
                with self.transaction():
                    for statement in _TABLES.split(";"):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version = {_VERSION}")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version != _VERSION:
            raise UsageError(
                f"{self.path} was written by another version of hurdle ({version})",
                hint="--force starts the campaign afresh",
            )
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise InfraError(
                f"{self.path}: {exc}", hint="free some space there, then --resume"
            ) from exc

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written in the block, or nothing of it."""
        with self._errors():
            self._db.execute("BEGIN")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def set_meta(self, key: str, value: str) -> None:
        with self._errors():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def meta(self, key: str) -> str | None:
        with self._errors():
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def add_case(self, name: str, variant: str, log: LogOutline) -> None:
        row = (name, variant, json.dumps(asdict(log)))
        with self._errors():
            self._db.execute(
                "INSERT INTO cases VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING", row
            )

    def outline(self, case: str) -> LogOutline:
        """What a case's log and workload look like."""
        with self._errors():
            row = self._db.execute("SELECT log FROM cases WHERE name = ?", (case,)).fetchone()
        found: dict[str, Any] = {}
        for name, value in json.loads(row[0]).items():
            found[name] = tuple(value) if isinstance(value, list) else value
        return LogOutline(**found)

    def cases(self) -> list[tuple[str, str]]:
        """Name and variant, in the order they were added."""
        with self._errors():
            return self._db.execute("SELECT name, variant FROM cases ORDER BY rowid").fetchall()

    def set_planned(self, case: str, planned: Mapping[CrashModel, int]) -> None:
        """How many states of each model the log has."""
        with self._errors():
            for model, states in planned.items():
                row = (case, model.value, states)
                self._db.execute("INSERT OR REPLACE INTO planned VALUES (?, ?, ?)", row)

    def planned(self, case: str) -> dict[CrashModel, int]:
        with self._errors():
            rows = self._db.execute('SELECT model, states FROM planned WHERE "case" = ?', (case,))
            return {CrashModel(model): states for model, states in rows}

    def add_content(
        self, case: str, number: int, state: str, tree: str, *, replayed: bool, quick: bool
    ) -> None:
        """A content that was recovered and checked; `state` is one that has it.

        A state of the log itself comes before the killed disk, which has a tilde in its name and
        may be the first to be judged: samples are drawn by these names.
        """
        row = (case, f"{number:032x}", state, tree, int(replayed), int(quick))
        with self._errors():
            self._db.execute(
                "INSERT INTO contents VALUES (?, ?, ?, ?, ?, ?) "
                'ON CONFLICT ("case", number) DO UPDATE SET state = excluded.state '
                "WHERE instr(state, '~') AND NOT instr(excluded.state, '~')",
                row,
            )

    def replayed(self, case: str) -> list[str]:
        """A state of each content whose log was replayed, in order."""
        with self._errors():
            rows = self._db.execute(
                'SELECT state FROM contents WHERE "case" = ? AND replayed ORDER BY state', (case,)
            )
            return [row[0] for row in rows]

    def clean_replays(self, case: str) -> list[tuple[str, str]]:
        """A state of each content that replay alone made whole, and its tree's digest; in order."""
        with self._errors():
            return self._db.execute(
                'SELECT state, tree FROM contents WHERE "case" = ? AND replayed AND quick '
                "ORDER BY state",
                (case,),
            ).fetchall()

    def known_states(self, case: str) -> set[str]:
        """The states that are judged, by id."""
        with self._errors():
            rows = self._db.execute('SELECT id FROM states WHERE "case" = ?', (case,))
            return {row[0] for row in rows}

    def add_states(self, rows: Iterable[StateRow]) -> None:
        """Write judged states; inside of a transaction with their content."""
        with self._errors():
            for row in rows:
                verdicts = {each.oracle.value: _LETTERS[each.verdict] for each in row.judgements}
                self._db.execute(
                    "INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        row.case,
                        row.id,
                        row.model.value,
                        row.upto,
                        f"{row.number:032x}",
                        json.dumps(verdicts, separators=(",", ":")),
                    ),
                )
                for each in row.judgements:
                    if each.verdict is Verdict.FAIL:
                        self._add_failure(row, each)

    def _add_failure(self, row: StateRow, judgement: Judgement) -> None:
        findings = [[f.code, f.kind.value, f.text] for f in judgement.findings]
        self._db.execute(
            "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                row.case,
                row.id,
                judgement.oracle.value,
                judgement.reason,
                cause_of(judgement),
                row.op,
                json.dumps(findings),
            ),
        )

    def add_log_verdict(self, case: str, judgement: Judgement) -> None:
        """What an oracle says of a write log as a whole."""
        row = (case, judgement.oracle.value, judgement.verdict.value, judgement.reason)
        with self._errors():
            self._db.execute("INSERT OR REPLACE INTO logs VALUES (?, ?, ?, ?)", row)

    def log_verdicts(self, case: str) -> list[Judgement]:
        with self._errors():
            rows = self._db.execute(
                'SELECT oracle, verdict, reason FROM logs WHERE "case" = ?', (case,)
            ).fetchall()
        return [Judgement(Oracle(o), Verdict(v), reason) for o, v, reason in rows]

    def add_seconds(self, phases: dict[str, float]) -> None:
        with self._errors():
            for phase, seconds in phases.items():
                self._db.execute(
                    "INSERT INTO seconds VALUES (?, ?, 1) ON CONFLICT (phase) DO UPDATE "
                    "SET seconds = seconds + excluded.seconds, times = times + 1",
                    (phase, seconds),
                )

    def seconds(self) -> list[tuple[str, float, int]]:
        with self._errors():
            return self._db.execute(
                "SELECT phase, seconds, times FROM seconds ORDER BY seconds DESC"
            ).fetchall()

    def counts(self) -> list[tuple[str, CrashModel, Oracle, Verdict, int]]:
        """How many states of a case and model got which verdict of an oracle."""
        with self._errors():
            rows = self._db.execute(
                'SELECT "case", model, key, value, count(*) FROM states, json_each(verdicts) '
                'GROUP BY "case", model, key, value'
            ).fetchall()
        return [
            (case, CrashModel(model), Oracle(oracle), _VERDICTS[letter], count)
            for case, model, oracle, letter, count in rows
        ]

    def distinct(self, case: str, without: CrashModel | None = None) -> int:
        """How many distinct contents of a case were recovered and checked; those that only the
        states of one model have may be left out.
        """
        with self._errors():
            row = self._db.execute(
                'SELECT count(DISTINCT number) FROM states WHERE "case" = ? AND model <> ?',
                (case, without or ""),
            ).fetchone()
        return int(row[0])

    def failures(self, case: str) -> list[Failure]:
        """Every FAIL of a case, by position."""
        with self._errors():
            rows = self._db.execute(
                "SELECT f.id, s.model, s.upto, f.oracle, f.reason, f.cause, f.op "
                'FROM failures f JOIN states s ON s."case" = f."case" AND s.id = f.id '
                'WHERE f."case" = ? ORDER BY s.upto, f.id, f.oracle',
                (case,),
            ).fetchall()
        return [
            Failure(case, name, CrashModel(model), upto, Oracle(oracle), reason, cause, op)
            for name, model, upto, oracle, reason, cause, op in rows
        ]

    def examples(self, case: str) -> list[Failure]:
        """The simplest FAIL of each oracle, cause, operation and model, with how many it is of.

        A night has a million failures, and only so many causes.
        """
        with self._errors():
            rows = self._db.execute(
                "SELECT f.id, s.model, s.upto, f.oracle, f.reason, f.cause, f.op, count(*), "
                "min(printf('%06d %09d %s', length(f.id), s.upto, f.id)) "
                'FROM failures f JOIN states s ON s."case" = f."case" AND s.id = f.id '
                'WHERE f."case" = ? GROUP BY f.oracle, f.cause, f.op, s.model',
                (case,),
            ).fetchall()
        return [
            Failure(case, name, CrashModel(model), upto, Oracle(oracle), reason, cause, op, count)
            for name, model, upto, oracle, reason, cause, op, count, _ in rows
        ]

    def failed(self, reason: str) -> list[tuple[str, CrashModel, int, int]]:
        """Case, model, how many states fail, and how many with a reason that begins so."""
        with self._errors():
            rows = self._db.execute(
                'SELECT s."case", s.model, count(DISTINCT f.id), '
                "count(DISTINCT CASE WHEN substr(f.reason, 1, ?) = ? THEN f.id END) "
                'FROM failures f JOIN states s ON s."case" = f."case" AND s.id = f.id '
                'GROUP BY s."case", s.model',
                (len(reason), reason),
            ).fetchall()
        return [(case, CrashModel(model), fails, such) for case, model, fails, such in rows]

    def findings(self, case: str, state: str, oracle: Oracle) -> tuple[Finding, ...]:
        """The findings behind a FAIL."""
        with self._errors():
            row = self._db.execute(
                'SELECT findings FROM failures WHERE "case" = ? AND id = ? AND oracle = ?',
                (case, state, oracle.value),
            ).fetchone()
        found = json.loads(row[0]) if row else []
        return tuple(Finding(code, FindingClass(kind), text) for code, kind, text in found)

    def states(self, case: str) -> Iterator[tuple[str, CrashModel, int, dict[Oracle, Verdict]]]:
        """Every state of a case by position: id, model, position, verdicts."""
        with self._errors():
            rows = self._db.execute(
                'SELECT id, model, upto, verdicts FROM states WHERE "case" = ? ORDER BY upto, id',
                (case,),
            )
            for id_, model, upto, verdicts in rows:
                yield (
                    id_,
                    CrashModel(model),
                    upto,
                    {
                        Oracle(name): _VERDICTS[letter]
                        for name, letter in json.loads(verdicts).items()
                    },
                )
