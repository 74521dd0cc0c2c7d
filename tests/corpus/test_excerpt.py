"""What is shown of a row that is left out holds no personal data where that is masked, wherever it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.corpus.stages.excerpt import CHARS, LOOKED_AT, excerpt

SECRETS = ["ann.lovelace@example.com", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "+44 20 7946 0958"]
LONG = f"{'a' * 60}@{'b' * 60}.{'c' * 60}.{'d' * 60}.org "
"""An address that is 7 characters once masked: many of them bring what is far behind to the front."""
MASKED = [" <EMAIL>", " <CARD>", " <IBAN>", " <PHONE>"]


def at(place: int, secret: str, filler: str) -> str:
    """A text whose JSON has the secret at `place`, and goes on beyond what is looked at."""
    before = (filler * (place // len(filler) + 1))[: place - len('{"text": " ')]
    cut = before.rfind(" ")  # no half word, which would be a half address
    before = before[: cut + 1] + "x" * (len(before) - cut - 1)
    return f"{before} {secret}" + " word" * LOOKED_AT


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(("filler", "edge"), [("word ", CHARS), (LONG, LOOKED_AT)])
def test_what_lies_across_a_cut_is_not_shown_in_part(secret: str, filler: str, edge: int) -> None:
    for place in range(edge - len(secret) - 1, edge + 2):
        text = at(place, secret, filler)
        assert ('{"text": "' + text).index(secret) == place
        shown = excerpt({"text": text}, True)
        assert secret[:4] not in shown
        assert len(shown) <= CHARS


@given(st.text('ab .\\"\n\t', max_size=40), st.sampled_from(list(zip(SECRETS, MASKED, strict=True))))
def test_a_row_that_is_shown_whole_has_it_masked(before: str, secret: tuple[str, str]) -> None:
    assert excerpt({"text": f"{before} {secret[0]}"}, True).endswith(f'{secret[1]}"}}')


@pytest.mark.parametrize("before", ["\n", "\t", "\r\n", "\x00", "\\\n", '"'])
@pytest.mark.parametrize("secret", SECRETS)
def test_a_line_break_before_it_does_not_hide_it(before: str, secret: str) -> None:
    shown = excerpt({"text": f"my number:{before}{secret}"}, True)
    assert secret not in shown
    assert '"text": "my number:' in shown


def test_without_masking_it_is_the_beginning_of_the_row() -> None:
    assert excerpt({"text": "a\nb", "label": 7}, False) == '{"text": "a\\nb", "label": 7}'
    assert excerpt({"text": SECRETS[0] * 30}, False) == ('{"text": "' + SECRETS[0] * 30)[:CHARS]
    assert excerpt({"text": "half a pair \ud800"}, False) == '{"text": "half a pair ?"}'
