"""A process that looks at versions for a walk over very many (`cache.scouting` is its program).

It is a help and nothing else: where it cannot be started, or ends early, the walk looks itself.
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
from assetd_server.assets.shielding import ended
from assetd_server.assets.threads import Threads
from assetd_server.cache import scouting
from assetd_server.cache.layout import AssetsDir, os_errors
from assetd_server.cache.scan import Folder, Found, Known
from assetd_server.errors import AssetError

Batches = Sequence[Sequence[Folder]]


class _Errand:
    """One scout, which can be ended also while it is started, in another thread."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._scout: subprocess.Popen[bytes] | None = None
        self._is_over = False

    def begin(self, scout: subprocess.Popen[bytes]) -> None:
        """Take the scout that has just been started."""
        with self._turn:
            self._scout = scout
            if self._is_over:
                scout.kill()

    def end(self) -> None:
        """End it; one that has ended by itself is left alone."""
        with self._turn:
            self._is_over = True
            if self._scout is not None:
                self._scout.kill()


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
        errand = _Errand()
        sent = asyncio.ensure_future(self._disk.run(self._send, errand, batches, known))
        try:
            await asyncio.wait([sent])
        finally:
            # Nobody waits for what it finds where the walk is cancelled.
            errand.end()
            await ended(sent)
        try:
            return sent.result()
        except (OSError, ValueError, TypeError, IndexError, AssetError) as error:
            self._log.warning("a scout could not help with a walk", error=repr(error))
            return None

    def _send(self, errand: _Errand, batches: Batches, known: Mapping[str, Known]) -> list[Found]:
        with in_bulk():
            asked = scouting.question(batches, known)
        # Not as a child of the event loop: uvloop's fails in ways of its own where one dies early.
        with self._start() as scout:
            errand.begin(scout)
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
