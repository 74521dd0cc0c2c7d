"""Made texts, what of them must be masked, and how well a masker does on them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from personal_lookalikes import LOOKALIKES
from personal_marked import MARKED

KINDS = {"E": "EMAIL", "P": "PHONE", "C": "CARD", "I": "IBAN", "N": "NATIONAL_ID", "A": "IP"}
Found = tuple[tuple[str, str], ...]
_MARK = re.compile(r"\{([EPCINA]):([^{}]+)\}")


@dataclass(frozen=True)
class Case:
    """A text and what of it must be masked: (kind, the exact string), in order."""

    language: str
    text: str
    found: tuple[tuple[str, str], ...]

    @property
    def held_out(self) -> bool:
        """Half of the cases, by a hash of the text: nobody looks at their failures while changing the rules."""
        return hashlib.sha256(self.text.encode()).digest()[0] % 2 == 1


def _case(language: str, line: str) -> Case:
    found = tuple((KINDS[kind], string) for kind, string in _MARK.findall(line))
    return Case(language, _MARK.sub(r"\2", line), found)


def cases() -> list[Case]:
    """All cases, the look-alikes among them."""
    blocks = [*MARKED.items(), *LOOKALIKES.items()]
    return [_case(language, line) for language, block in blocks for line in block.strip().splitlines()]


@dataclass
class Score:
    """Right, extra and missing masks."""

    right: int = 0
    extra: int = 0
    missing: int = 0

    @property
    def precision(self) -> float:
        return self.right / max(1, self.right + self.extra)

    @property
    def recall(self) -> float:
        return self.right / max(1, self.right + self.missing)


@dataclass
class Scores:
    """Of all cases, of each kind and of each language."""

    all: Score = field(default_factory=Score)
    kinds: dict[str, Score] = field(default_factory=dict)
    languages: dict[str, Score] = field(default_factory=dict)


def score(cases: Iterable[Case], find: Callable[[str], Found]) -> Scores:
    """How well `find` does; a mask counts as right when its kind and its exact string are."""
    scores = Scores()
    for case in cases:
        got, want = Counter(find(case.text)), Counter(case.found)
        for part, counts in (("right", got & want), ("extra", got - want), ("missing", want - got)):
            for kind, _ in counts.elements():
                for one in (
                    scores.all,
                    scores.kinds.setdefault(kind, Score()),
                    scores.languages.setdefault(case.language, Score()),
                ):
                    setattr(one, part, getattr(one, part) + 1)
    return scores
