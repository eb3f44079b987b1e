"""A lease: the kernel's word that this process uses a version.

A shared flock on the version itself, which every evictor asks for in vain until the last process
that has the descriptor is gone. Needs no daemon, and works across containers and on read-only
mounts. Imports neither grpc nor the stubs.
"""

import fcntl
import os

from assetd._holds import Holds

# O_NONBLOCK: should a FIFO stand there, the open does not hang. O_NOFOLLOW: the daemon publishes
# no links, so that one is somebody else's doing.
OPEN_VERSION = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class Lease:
    """An open descriptor with the shared lock on it. Safe for threads.

    It has begun only once `begin` says so: until then the version may just be on its way out.
    """

    __slots__ = ("__weakref__", "_descriptors", "_holds")

    def __init__(self, descriptor: int, holds: Holds | None) -> None:
        """Own a locked descriptor; use `of`."""
        # A list, since taking its only element is one step: whoever closes second finds none, and
        # never closes what another thread has opened under the same number.
        self._descriptors = [descriptor]
        self._holds = holds

    @classmethod
    def of(cls, path: str, holds: Holds | None = None) -> "Lease | None":
        """Open the version at `path` and lock it, without waiting.

        None where nothing stands that this process may open, or where it is just being replaced
        or evicted. `holds` will close it.
        """
        try:
            descriptor = os.open(path, OPEN_VERSION)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return cls(descriptor, holds)

    @property
    def is_held(self) -> bool:
        """Whether it was not closed."""
        return bool(self._descriptors)

    def begin(self, path: str) -> bool:
        """Tell whether what is locked is what stands at `path`; with that the lease begins.

        To be asked last, after all other looks: what stands there now can neither be evicted nor
        replaced any more.
        """
        try:
            ours, standing = os.fstat(self._descriptors[0]), os.lstat(path)
        except OSError:
            return False
        if ours.st_ino != standing.st_ino or ours.st_dev != standing.st_dev:
            return False
        if self._holds is not None:
            self._holds.add(self)
        return True

    def hand_on(self) -> None:
        """Let the program that takes this process's place inherit it."""
        os.set_inheritable(self._descriptors[0], True)

    def close(self) -> None:
        """End it; idempotent."""
        try:
            descriptor = self._descriptors.pop()
        except IndexError:
            return
        os.close(descriptor)
        if self._holds is not None:
            self._holds.drop(self)
