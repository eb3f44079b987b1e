"""A process that looks at versions for a walk over very many (`cache.scouting` is its program).

It is a help and nothing else: where it cannot be started, or ends early, the walk looks itself.
"""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence

import structlog

from assetd_server.assets.in_bulk import in_bulk
from assetd_server.assets.shielding import to_the_end
from assetd_server.assets.threads import Threads
from assetd_server.cache import scouting
from assetd_server.cache.layout import AssetsDir, os_errors
from assetd_server.cache.scan import Folder, Found, Known
from assetd_server.errors import AssetError

Batches = Sequence[Sequence[Folder]]


class Scouts:
    """Sends scouts into one ASSETS_DIR, one for each walk."""

    def __init__(
        self, assets_dir: AssetsDir, disk: Threads, python: str = sys.executable or ""
    ) -> None:
        """`python` is the interpreter that runs a scout."""
        self._dir = assets_dir
        self._disk = disk
        self._python = python
        self._log = structlog.get_logger()

    async def look(self, batches: Batches, known: Mapping[str, Known]) -> list[Found] | None:
        """Return what stands of the versions of these folders; None where the scout cannot tell."""
        asked = await self._disk.run(_question, batches, known)
        try:
            answered = await self._send(asked)
            return await self._disk.run(_found_in, answered, batches)
        except (OSError, ValueError, TypeError, IndexError, AssetError) as error:
            self._log.warning("a scout could not help with a walk", error=repr(error))
            return None

    async def _send(self, asked: bytes) -> bytes:
        scout = await self._start()
        try:
            answered, _ = await scout.communicate(asked)
        finally:
            if scout.returncode is None:
                scout.kill()
                await to_the_end(scout.wait())
        return answered

    async def _start(self) -> Process:
        # Of its own: a lock belongs to all who share the open directory, and the daemon's lock on
        # ASSETS_DIR must end with the daemon.
        with os_errors("."):
            fd = self._dir.fs.open(self._dir.fd, ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            return await asyncio.create_subprocess_exec(
                *(self._python, "-m", scouting.__name__, str(fd)),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                pass_fds=(fd,),
            )
        finally:
            self._dir.fs.close(fd)


def _question(batches: Batches, known: Mapping[str, Known]) -> bytes:
    with in_bulk():
        return scouting.question(batches, known)


def _found_in(answered: bytes, batches: Batches) -> list[Found]:
    with in_bulk():
        return scouting.found_in(answered, batches)
