"""Which format a file has, and which of the files that were found are to be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from gb_ray.corpus.sources.formats import arrow_folder, conll, jsonl, parquet, text
from gb_ray.corpus.sources.formats.csv import CSV, TSV
from gb_ray.corpus.sources.formats.piece import Piece, Rows
from gb_ray.corpus.sources.storage import File
from gb_ray.corpus.sources.unpack import inner_name
from gb_ray.section import UserError


class Format(Protocol):
    """How files of one kind are read."""

    def pieces(self, file: File) -> list[Piece]:
        """How a file is cut for several tasks: together, in order, they give its rows.

        So does the one piece from where the first of them starts to where the last stops.
        """

    def rows(self, piece: Piece) -> Rows:
        """(number, row or why it is none); numbers rise, counted from 0 in the file."""

    def columns(self, file: File) -> list[str]:
        """What can be said of its columns without reading it whole. Raises UserError when it is not of this format."""


FORMATS: dict[str, Format] = {
    "csv": CSV,
    "tsv": TSV,
    "jsonl": jsonl,
    "parquet": parquet,
    "text": text,
    "conll": conll,
    "arrow-folder": arrow_folder,
}
ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
    ".md": "text",
    ".conll": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".arrow": "arrow-folder",
}
MARKERS = ("state.json", "dataset_info.json")
"""Beside the data files of an arrow folder; `dataset_dict.json` is in the folder above where there are splits."""


@dataclass(frozen=True)
class Input:
    """A file to be read, as what, and the split its rows were given if any (train, validation or test)."""

    file: File
    format: str
    split: str | None = None


def identify(file: File) -> str:
    """The format by the ending of the name, that of compression taken off. Raises UserError."""
    ending = PurePosixPath(inner_name(file.name)).suffix.lower()
    if ending not in ENDINGS:
        raise UserError(f"{file.uri}: unknown format {ending!r}; set format: to one of {', '.join(FORMATS)}")
    return ENDINGS[ending]


def inputs(files: list[File], format: str | None = None) -> list[Input]:
    """What is to be read of the files found at one address, `format` for all of them when it is given.

    Arrow folders are recognised among them; of a saved DatasetDict the name of a split's folder is the split.
    """
    folders: dict[str, dict[str, File]] = {}
    for file in files:
        folders.setdefault(_folder(file), {})[PurePosixPath(file.path).name] = file
    found = []
    for folder, beside in folders.items():
        saved = all(marker in beside for marker in MARKERS)
        if saved and format in (None, "arrow-folder"):
            split = PurePosixPath(folder).name
            given = "dataset_dict.json" in folders.get(str(PurePosixPath(folder).parent), {})
            known = split if given and split in ("train", "validation", "test") else None
            data = arrow_folder.data_files(beside["state.json"], beside)
            found += [Input(file, "arrow-folder", known) for file in data]
        else:
            rest = [file for name, file in beside.items() if name != "dataset_dict.json"]
            found += [Input(file, format or identify(file)) for file in rest]
    return found


def _folder(file: File) -> str:
    return str(PurePosixPath(file.path).parent)
