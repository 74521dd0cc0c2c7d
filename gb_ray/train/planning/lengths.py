"""The lengths of a split's samples, as its manifest tells them: so many of 2**i to 2**(i+1) - 1 tokens."""

from __future__ import annotations

from gb_ray.corpus.manifest import SplitEntry


def fullest(split: SplitEntry, samples: int, micro_tokens: int) -> list[int]:
    """The lengths in the fullest micro-batch that the order could bring: the longest samples together. Ascending.

    At most `samples` of them; at most `micro_tokens` tokens, unless one sample alone has more. None is longer than
    here, and the last sample that fits is cut to what is left.
    """
    found: list[int] = []
    room = micro_tokens
    for power in reversed(range(len(split.lengths))):
        length = min(2 ** (power + 1) - 1, split.longest)
        for _ in range(split.lengths[power]):
            if len(found) == samples or (found and room < 1):
                return found[::-1]
            found.append(length if not found else min(length, room))
            room -= found[-1]
    return found[::-1]


def attended(split: SplitEntry) -> float:
    """How many tokens a token attends to, in the mean over tokens: sum of squares over sum. Tokens."""
    middles = [min(1.5 * 2**power, split.longest) for power in range(len(split.lengths))]
    total = sum(count * middle for count, middle in zip(split.lengths, middles, strict=True))
    return sum(count * middle**2 for count, middle in zip(split.lengths, middles, strict=True)) / max(1, total)
