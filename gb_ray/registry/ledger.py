"""The ledger of one model name: every move of its aliases, signed and chained. It is the truth, aliases are its cache.

ledger = Ledger(home, "climate")
entry = ledger.append(Move(...), expected_head=ledger.head())
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from pydantic import BaseModel

from gb_ray.files import write_new, write_over
from gb_ray.registry.entry import Entry, Move
from gb_ray.registry.head import Head
from gb_ray.registry.key import Key
from gb_ray.section import UserError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class LedgerMoved(UserError):
    """Someone else wrote an entry since the head was read."""


class VerifyResult(BaseModel):
    """What checking a whole ledger found; `problems` has one line a fault and names the file."""

    ok: bool
    size: int
    head: str | None
    problems: list[str]


class Ledger:
    """The entries of model `name`, in `{home}/ledger/{name}/00000001.json` and on."""

    def __init__(self, home: Path, name: str) -> None:
        if not NAME.fullmatch(name):
            raise UserError(f"model name {name!r}: expected letters, digits, '_', '.' and '-'")
        self.home = home
        self.name = name
        self.directory = home / "ledger" / name
        self.key = Key(home)

    def append(self, move: Move, expected_head: str | None) -> Entry:
        """Write the entry of `move` after the one whose hash is `expected_head` (None: as the first).

        Raises LedgerMoved, having written nothing, when another entry is there by now; UserError when the
        ledger does not verify; ValueError when the evidence is not JSON of finite numbers.
        """
        entries = self.checked()
        if (entries[-1].hash if entries else None) != expected_head:
            raise self._moved()
        self._prepare()
        entry = Entry.make(move, self.name, len(entries) + 1, expected_head, self.key)
        try:
            # Only one of two writers can make this name: this line is the compare-and-swap.
            write_new(self.directory / f"{entry.number:08d}.json", entry.content())
        except FileExistsError:
            raise self._moved() from None
        head = Head.make(self.name, entry.number, entry.hash, self.key)
        write_over(self.directory / "HEAD", head.content())
        return entry

    def entries(self) -> list[Entry]:
        """All entries, oldest first. Raises UserError naming a file that cannot be read; proves nothing else."""
        return [self._read(path) for path in self._paths()]

    def checked(self) -> list[Entry]:
        """All entries, oldest first. Raises UserError with every problem when the ledger does not verify."""
        entries, problems = self._inspect()
        if problems:
            raise UserError("\n".join([*problems, f"The ledger of {self.name} cannot be trusted: restore it."]))
        return entries

    def head(self) -> str | None:
        """The newest entry's hash; None when there is none."""
        paths = self._paths()
        return self._read(paths[-1]).hash if paths else None

    def current(self, alias: str) -> Entry | None:
        """The entry that put `alias` where it is."""
        moves = [entry for entry in self.entries() if entry.alias == alias and entry.action != "refuse"]
        return moves[-1] if moves else None

    def standing(self, alias: str) -> list[Entry]:
        """The promotions of `alias` that no rollback undid, oldest first: the last is where it points."""
        stack: list[Entry] = []
        for entry in self.entries():
            if entry.alias == alias and entry.action == "promote":
                stack.append(entry)
            elif entry.alias == alias and entry.action == "rollback" and stack:
                stack.pop()
        return stack

    def verify(self) -> VerifyResult:
        """Check numbering, chain, hashes, signatures, keys and HEAD; never raises for what it finds.

        What it cannot see: a whole home put back to an older state. Keep the head it returns elsewhere for that.
        """
        entries, problems = self._inspect()
        head = entries[-1].hash if entries else None
        return VerifyResult(ok=not problems, size=len(self._paths()), head=head, problems=problems)

    def _read(self, path: Path) -> Entry:
        try:
            return Entry.read(path.read_bytes())
        except (OSError, ValueError):
            raise UserError(f"{path}: not a ledger entry; run: gb ledger verify {self.name}") from None

    def _inspect(self) -> tuple[list[Entry], list[str]]:
        problems: list[str] = []
        # HEAD before the entries: one that is written meanwhile then only makes it look behind.
        head_path = self.directory / "HEAD"
        head = None
        try:
            head = Head.read(head_path)
        except ValueError:
            problems.append(f"{head_path}: not a ledger head")
        paths = self._paths()
        if not paths and head is None:
            return [], problems
        if head is None and not problems and head_path.exists():
            # The first writer came between our two looks.
            return self._inspect()
        try:
            public = self.key.public()
        except UserError as error:
            return [], [*problems, str(error)]
        entries = self._inspect_entries(paths, public, problems)
        if head:
            fault = head.fault(self.name, public, [entry.hash for entry in entries])
            problems += [f"{head_path}: {fault}"] if fault else []
        elif not problems:
            problems.append(f"{head_path}: missing, so the last entries may be missing too")
        return entries, problems

    def _inspect_entries(self, paths: list[Path], public: str, problems: list[str]) -> list[Entry]:
        entries: list[Entry] = []
        for number, path in enumerate(paths, start=1):
            try:
                entry = Entry.read(path.read_bytes())
            except (OSError, ValueError):
                problems.append(f"{path}: not a ledger entry")
                continue
            faults = entry.faults(public) + self._misplaced(entry, path, number, entries)
            problems += [f"{path}: {fault}" for fault in faults]
            entries.append(entry)
        return entries

    def _misplaced(self, entry: Entry, path: Path, number: int, before: list[Entry]) -> list[str]:
        faults = []
        if entry.name != self.name:
            faults.append(f"it belongs to the ledger of {entry.name}")
        if path.name != f"{number:08d}.json" or entry.number != number:
            faults.append(f"expected entry {number}, found entry {entry.number}")
        if entry.previous_hash != (before[-1].hash if before else None):
            faults.append("it does not follow the entry before it")
        return faults

    def _paths(self) -> list[Path]:
        return sorted(self.directory.glob("[!.]*.json"))

    def _prepare(self) -> None:
        if not self.key.exists():
            # A new key would silently disown every entry that the lost one signed.
            if next(self.home.glob("ledger/*/*.json"), None):
                raise UserError(
                    f"{self.key.private_path.parent}: the ledger's key is missing; restore it from a backup"
                )
            self.key.make()
        with contextlib.suppress(FileExistsError):
            if not self._paths():
                write_new(self.directory / "HEAD", Head.make(self.name, 0, "", self.key).content())

    def _moved(self) -> LedgerMoved:
        return LedgerMoved(f"{self.directory}: someone else wrote an entry meanwhile; nothing was changed; try again")
