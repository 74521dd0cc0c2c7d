"""The endpoint without HTTP: texts in, answers and the version that made them out."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from gb_ray.serve.backend import Backend
from gb_ray.serve.batcher import Batcher
from gb_ray.serve.follow import Follower, Loaded, Source, Version
from gb_ray.serve.problem import Problem
from gb_ray.serve.section import ServeSection

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """One answer a text, in order, all made by `version`."""

    version: Version
    answers: list[dict[str, Any]]


class Service:
    """Answers with the version that `source` names now. All its methods belong to one event loop."""

    def __init__(self, source: Source, section: ServeSection):
        self.section = section
        self._follower = Follower(source, section.poll_s)
        # One thread each: the model is never computed twice at a time, and a fast tokenizer is not thread-safe.
        self._model_thread = ThreadPoolExecutor(1, "model")
        self._tokenizer_thread = ThreadPoolExecutor(1, "tokenizer")
        self._batcher: Batcher | None = None
        self._unanswered = 0

    @property
    def current(self) -> Loaded:
        """The version and model that answer now."""
        return self._follower.current

    @property
    def problem(self) -> str | None:
        """Why the version that the alias names is not the one that answers; None when it is."""
        return self._follower.problem

    async def start(self) -> None:
        """Load the model and begin to follow its alias. Raises what the source raises."""
        await self._follower.start()

    async def stop(self) -> None:
        """Stop following, and drop what waits."""
        await self._follower.stop()
        self._tokenizer_thread.shutdown(wait=False, cancel_futures=True)
        self._model_thread.shutdown(wait=False, cancel_futures=True)

    async def predict(self, texts: list[str]) -> Prediction:
        """Raises Problem 429 when `section.max_queued` requests are unanswered already, 500 when the model fails."""
        if self._unanswered >= self.section.max_queued:
            detail = f"{self._unanswered} requests are waiting already; try again."
            raise Problem(429, detail, headers={"Retry-After": "1"})
        self._unanswered += 1
        current = self.current
        try:
            return Prediction(current.version, await self._answers(current.backend, texts))
        except Exception as error:
            logger.exception("%s, version %s, failed on a request", current.version.name, current.version.version)
            raise Problem(500, "The model failed on this request; the server's log says why.") from error
        finally:
            self._unanswered -= 1

    async def _answers(self, backend: Backend, texts: list[str]) -> list[dict[str, Any]]:
        batcher = self._batcher_of(backend)
        loop = asyncio.get_running_loop()
        encoded = await loop.run_in_executor(self._tokenizer_thread, backend.encode, texts)
        waiting = [asyncio.ensure_future(batcher.submit(item)) for item in encoded]
        try:
            return await asyncio.gather(*waiting)
        finally:
            # After a failure, or when the client went away: nobody wants the others.
            for item in waiting:
                item.cancel()

    def _batcher_of(self, backend: Backend) -> Batcher:
        if self._batcher is None or self._batcher.backend is not backend:
            # The old one finishes what waits in it by itself.
            self._batcher = Batcher(backend, self.section.batch_tokens, self._model_thread)
        return self._batcher
