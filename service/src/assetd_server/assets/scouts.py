"""Processes that look at versions for a walk over very many (`cache.scouting` is their program).

They are a help and nothing else: where they cannot be started, or end early, the walk looks itself.
"""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from subprocess import DEVNULL, PIPE

import structlog

from assetd_server.assets.in_bulk import in_bulk
from assetd_server.assets.shielding import to_the_end
from assetd_server.assets.threads import Threads
from assetd_server.cache import scouting
from assetd_server.cache.layout import AssetsDir, os_errors
from assetd_server.cache.scan import Folder, Found, Known
from assetd_server.errors import AssetError

# As many even on two cores: the kernel does most of the work, and reads for one while it waits for
# another.
_SCOUTS = 4

Batches = Sequence[Sequence[Folder]]


class _Crew:
    """The scouts of one walk, so that all can be ended, also those that start this moment."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._scouts: list[subprocess.Popen[bytes]] = []
        self._ended = False

    def join(self, scout: subprocess.Popen[bytes]) -> None:
        """Count a scout that has just been started."""
        with self._turn:
            self._scouts.append(scout)
            if self._ended:
                scout.kill()

    def end(self) -> None:
        """End all of them. Idempotent; one that has ended by itself is left alone."""
        with self._turn:
            self._ended = True
            for scout in self._scouts:
                scout.kill()


class Scouts:
    """Sends scouts into one ASSETS_DIR."""

    def __init__(
        self, assets_dir: AssetsDir, disk: Threads, python: str = sys.executable or ""
    ) -> None:
        """`python` is the interpreter that runs a scout."""
        self._dir = assets_dir
        self._disk = disk
        self._python = python
        self._log = structlog.get_logger()

    async def look(self, batches: Batches, known: Mapping[str, Known]) -> list[Found] | None:
        """Return what stands of the versions of these folders; None where no scout could tell."""
        shares = [batches[number::_SCOUTS] for number in range(_SCOUTS)]
        crew = _Crew()
        sent = [
            asyncio.ensure_future(self._disk.run(self._send, crew, share, known))
            for share in shares
        ]
        try:
            await asyncio.wait(sent, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            # Nobody waits for what the others find where one has failed, or the walk is cancelled.
            crew.end()
            await to_the_end(asyncio.gather(*sent, return_exceptions=True))
        try:
            return [found for one in sent for found in one.result()]
        except (OSError, ValueError, TypeError, IndexError, AssetError) as error:
            self._log.warning("scouts could not help with a walk", error=repr(error))
            return None

    def _send(self, crew: _Crew, batches: Batches, known: Mapping[str, Known]) -> list[Found]:
        asked = scouting.question(batches, known)
        with self._start() as scout:
            crew.join(scout)
            answered, _ = scout.communicate(asked)
        with in_bulk():
            return scouting.found_in(answered, batches)

    def _start(self) -> subprocess.Popen[bytes]:
        # Of its own: a lock belongs to all who share the open directory, and the daemon's lock on
        # ASSETS_DIR must end with the daemon.
        with os_errors("."):
            fd = self._dir.fs.open(self._dir.fd, ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            command = (self._python, "-m", scouting.__name__, str(fd))
            return subprocess.Popen(  # noqa: S603 - our own program
                command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, pass_fds=(fd,)
            )
        finally:
            self._dir.fs.close(fd)
