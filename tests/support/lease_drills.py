"""Leases against replacement and eviction: the other acts right before each call, in turn.

A lease that begins is on what stands, and as long as it is held nobody moves that.
"""

import fcntl
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from assetd_server.cache.evict import evict
from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.leases import Lease, take_lease
from assetd_server.cache.linux import FileSystem
from assetd_server.cache.lookup import Lookup
from assetd_server.errors import AssetInUseError

from tests.support.crash_judging import opened
from tests.support.crash_operations import FILE, OLD_FILE, OLD_TREE, TREE
from tests.support.file_systems import RecordingFileSystem
from tests.support.flights import land
from tests.support.scratch import scratch_folder
from tests.support.versions import PATHS, Content, put_ours

_CONTENTS: list[tuple[Content, Content]] = [(OLD_FILE, FILE), (OLD_TREE, TREE)]
_Mover = Callable[[AssetsDir, Content], None]


def _replace(assets_dir: AssetsDir, new: Content) -> None:
    with suppress(AssetInUseError):
        land(assets_dir, new, replaces=True)


def _evict(assets_dir: AssetsDir, _: Content) -> None:
    evict(assets_dir, Lookup(assets_dir), PATHS)


def lease_findings(bug: type[FileSystem]) -> list[str]:
    """Return what is wrong at the points where the two meet, with this bug on one side of them."""
    found = []
    for (old, new), move in itertools.product(_CONTENTS, (_replace, _evict)):
        name = f"{move.__name__.strip('_')} of a {'file' if old is OLD_FILE else 'folder'}"
        found += [f"{name} {wrong}" for wrong in _moved_meanwhile(bug, old, new, move)]
        found += [f"{name} {wrong}" for wrong in _leased_meanwhile(bug, old, new, move)]
    return found


def _moved_meanwhile(
    bug: type[FileSystem], old: Content, new: Content, move: _Mover
) -> Iterator[str]:
    """Somebody moves the version at each call of whoever takes a lease."""
    for number in itertools.count(1):
        with _both(bug, old) as (fs, leasing, moving):
            fs.before_call(number, partial(move, moving, new))
            lease = take_lease(leasing, PATHS)
            if lease is not None:
                if not _is_locked(Path(leasing.path)):
                    yield f"before call {number} of a lease: it is on what does not stand"
                lease.release()
            if number > len(fs.calls):
                return


def _leased_meanwhile(
    bug: type[FileSystem], old: Content, new: Content, move: _Mover
) -> Iterator[str]:
    """Somebody takes a lease at each call of whoever moves the version."""
    for number in itertools.count(1):
        with _both(bug, old) as (fs, moving, leasing):
            leases: list[Lease | None] = []
            fs.before_call(number, partial(_take, leasing, leases))
            move(moving, new)
            for lease in leases:
                if lease is not None:
                    if not _is_locked(Path(moving.path)):
                        yield f"under a lease that began before its call {number}"
                    lease.release()
            if number > len(fs.calls):
                return


def _take(assets_dir: AssetsDir, leases: list[Lease | None]) -> None:
    leases.append(take_lease(assets_dir, PATHS))


@contextmanager
def _both(
    bug: type[FileSystem], old: Content
) -> Iterator[tuple[RecordingFileSystem, AssetsDir, AssetsDir]]:
    """A version, one side of whose calls are numbered and have the bug, and another side."""
    numbered = type("Numbered", (RecordingFileSystem, bug), {})
    with scratch_folder() as root:
        put_ours(root, old)
        fs: RecordingFileSystem = numbered()
        with opened(root, fs) as one, opened(root, FileSystem()) as other:
            fs.calls.clear()
            yield fs, one, other
            fs.heal()


def _is_locked(root: Path) -> bool:
    """Whether somebody holds a lease on what stands."""
    try:
        fd = os.open(root / PATHS.data, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
