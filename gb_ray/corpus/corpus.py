"""A corpus that was built: a directory, here or in an object store, with a manifest that says what it is."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from gb_ray.corpus.manifest import NAME, Manifest
from gb_ray.corpus.reading import fetch
from gb_ray.section import UserError


class Corpus:
    """An opened corpus. `open` checks the manifest; `check.check` reads every byte."""

    def __init__(self, folder: Path | str, manifest: Manifest):
        self.folder, self.manifest = folder, manifest

    @property
    def path(self) -> Path:
        """Where it is on this machine. Raises UserError when it is in an object store."""
        if isinstance(self.folder, str):
            raise UserError(f"{self.uri}: this needs the corpus on this machine; copy it here")
        return self.folder

    @property
    def uri(self) -> str:
        """What it is called in messages; of an object store without the options of the address."""
        return str(self.folder).partition("?")[0]

    @classmethod
    def open(cls, folder: Path | str) -> Corpus:
        """The corpus at a local path or at an address such as s3://BUCKET/folder (see remote.py for the options).

        Raises UserError when there is no corpus or its manifest was altered, and `remote.Unreachable`.
        """
        if isinstance(folder, str) and "://" not in folder:
            folder = Path(folder)
        file = fetch.address(folder, NAME)
        where = file.removesuffix(f"/{NAME}")
        try:
            content = fetch.read(folder, NAME).to_pybytes()
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{where}: not a corpus (no {NAME}); build one with: gb corpus build RECIPE") from None
        try:
            manifest = Manifest.model_validate_json(content)
        except ValidationError as error:
            raise UserError(f"{file}: not a manifest this version reads: {error.errors()[0]['msg']}") from None
        if manifest.content_digest() != manifest.digest:
            raise UserError(f"{file}: altered since it was written; remove {where} and build the corpus again")
        return cls(folder, manifest)

    @classmethod
    def find(cls, home: Path, digest: str) -> Corpus:
        """The corpus with this digest under `home/corpora`. Raises UserError when it is not there."""
        for file in sorted((home / "corpora").glob(f"*/{NAME}")):
            try:
                corpus = cls.open(file.parent)
            except UserError:  # of another version, or altered: in neither case the one that is looked for
                continue
            if corpus.manifest.digest == digest:
                return corpus
        raise UserError(f"{home / 'corpora'}: no corpus with digest {digest}; build it: gb corpus build RECIPE")


def seal(path: Path, manifest: Manifest) -> Corpus:
    """Make a directory a corpus: the manifest is written beside and renamed into place, whole or not at all."""
    sealed = manifest.sealed()
    beside = path / f"{NAME}.part"
    beside.write_text(sealed.model_dump_json(indent=1), encoding="utf-8")
    beside.rename(path / NAME)
    return Corpus(path, sealed)
