"""Whether a model can be measured on a corpus: what does not fit is refused, with what to do."""

from __future__ import annotations

from pathlib import Path

from gb_ray.model import package
from gb_ray.section import UserError
from gb_ray.tasks.tokenizer import rules


def same_tokenizer(model: Path, tokenizer: Path, instead: str) -> None:
    """Raises UserError unless an exported model, or each member of an ensemble, was trained with this `tokenizer`.

    A corpus holds the numbers of one tokenizer's tokens, and a model takes those of another for other words. `instead`
    says what to do.
    """
    for folder in package.models(model, package.read(model)):
        if rules(str(folder)) != rules(str(tokenizer)):
            raise UserError(
                f"{folder}: its tokenizer is not that of {tokenizer}, whose tokens the corpus holds, so that its "
                f"answers would mean nothing; {instead}"
            )
