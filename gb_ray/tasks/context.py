"""How much of what stands around a sentence fits beside it: its own words are what is asked about, and come first."""

from __future__ import annotations

from typing import Any


def fitting(row: dict[str, Any], sizes: dict[str, int], room: int) -> tuple[list[str], list[str]]:
    """The words of `before` and of `after` that fit into `room` tokens beside all of `tokens`.

    `sizes` is how many tokens each word takes. The words nearest to the sentence come first, whole ones only, those of
    the side that has fewer tokens so far before those of the other; what one side leaves free the other takes.
    """
    sides = row["before"][::-1], row["after"]
    room -= sum(sizes[word] for word in row["tokens"])
    words, tokens, growing = [0, 0], [0, 0], [0, 1]
    while growing:
        side = min(growing, key=tokens.__getitem__)
        size = sizes[sides[side][words[side]]] if words[side] < len(sides[side]) else None
        if size is None or sum(tokens) + size > room:
            growing.remove(side)  # a word further away is no substitute for one that did not fit
        else:
            words[side] += 1
            tokens[side] += size
    return sides[0][: words[0]][::-1], sides[1][: words[1]]
