"""Follows an alias: loads the version it moves to beside the one that answers, then swaps them."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass
from typing import Protocol

from gb_ray.serve.backend import Backend

LONGEST_PAUSE_S = 300.0

logger = logging.getLogger(__name__)


class Version(Protocol):
    """Which model it is; `gb_ray.registry.versions.Version` is one."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str | None: ...
    @property
    def uri(self) -> str: ...
    @property
    def weights_sha256(self) -> str: ...


class Source(Protocol):
    """Where models come from. Its methods block, and raise when they cannot do what they say."""

    def head(self) -> str | None:
        """Differs from what it was whenever the alias may have moved. Cheap."""

    def resolve(self) -> Version:
        """The version that is to answer now."""

    def load(self, version: Version) -> Backend:
        """The model of `version`, once it has proved that it answers."""


@dataclass(frozen=True)
class Loaded:
    """A version and its model."""

    version: Version
    backend: Backend


class Follower:
    """Keeps `current` at the version that `source` names, looking every `poll_s` seconds.

    A request that holds on to one `current` is answered by one model, whatever moves meanwhile. When the new version
    cannot be resolved or loaded the old one stays and `problem` says why; it is tried again when the alias moves, and
    after a pause that doubles from `poll_s` to five minutes.
    """

    def __init__(self, source: Source, poll_s: float):
        self._blind: str | None = None
        self._unserved: str | None = None
        self._source = source
        self._poll_s = poll_s
        self._current: Loaded | None = None
        self._head: str | None = None
        self._pause_s = poll_s
        self._try_again = math.inf
        self._task: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str | None:
        """Why `current` may not be what the alias names; None when it is."""
        return self._unserved or self._blind

    @property
    def current(self) -> Loaded:
        """What answers now. Only between `start` and `stop`."""
        if self._current is None:
            raise RuntimeError("the follower has not been started")
        return self._current

    async def start(self) -> None:
        """Load the first version, then follow. Raises what `source` raises."""
        self._head = await asyncio.to_thread(self._source.head)
        self._current = await asyncio.to_thread(self._load)
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop following; `current` goes on answering those who hold it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                head = await asyncio.to_thread(self._source.head)
            except Exception as error:  # noqa: BLE001 - whatever it is, the model that answers goes on
                self._blinded(f"cannot see whether the alias moved: {error}")
                continue
            self._blind = None
            if head != self._head:
                # Taken before the load: a move during it is seen by the next look.
                self._head, self._pause_s = head, self._poll_s
                await self._move()
            elif time.monotonic() >= self._try_again:
                await self._move()

    def _blinded(self, problem: str) -> None:
        # Once, not at every look while it lasts.
        if problem != self._blind:
            logger.error(problem)
        self._blind = problem

    async def _move(self) -> None:
        try:
            loaded = await asyncio.to_thread(self._load)
        except Exception as error:
            self._unserved = f"the alias moved to a version that cannot be served: {error}"
            logger.exception(self._unserved)
            # Not every move that fails now fails for good: a shared folder may be behind, a server restarting.
            self._try_again = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            return
        if loaded is not self._current:
            logger.warning("now serving %s, version %s", loaded.version.name, loaded.version.version)
        self._current, self._unserved, self._try_again = loaded, None, math.inf

    def _load(self) -> Loaded:
        version = self._source.resolve()
        if self._current is not None and _identity(version) == _identity(self._current.version):
            return self._current
        return Loaded(version, self._source.load(version))


def _identity(version: Version) -> tuple[str, str | None, str]:
    return version.name, version.version, version.weights_sha256
