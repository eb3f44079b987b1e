"""A scout: the program that looks at versions for a walk over very many, in processes of its own.

To look at a version takes two to four short calls, and at each of them threads of one process hand
the interpreter's lock around: for 100,000 versions that cost more than the calls, and the event
loop waited with them. `python -m assetd_server.cache.scouting FD` reads from standard input which
versions are meant, below the ASSETS_DIR that the descriptor `FD` is of, writes to standard output
what stands of them, and ends. It changes nothing, and remembers nothing.

Question and answer are one line of JSON for each batch of folders, in the same order.
"""

import ctypes
import gc
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing

from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.linux import FileSystem
from assetd_server.cache.scan import Folder, Found, Known, look_at, versions_in

# A disk answers as many reads in about the time of one.
_PROCESSES = 16
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1

# A folder: its path, its versions, those that were folders, and what is known of them.
_Asked = tuple[str, list[str], list[str], list[tuple[str, int, int]]]


def question(batches: Iterable[Sequence[Folder]], known: Mapping[str, Known]) -> bytes:
    """Return what a scout is to read: the versions of these folders, and what is known of them."""
    return b"".join(_line([_asked(folder, known) for folder in batch]) for batch in batches)


def _asked(folder: Folder, known: Mapping[str, Known]) -> Sequence[object]:
    leaves = [paths.leaf for paths in folder.versions]
    remembered = [
        (paths.data, one.marker_time_ns, one.size_bytes)
        for paths in folder.versions
        if (one := known.get(paths.data))
    ]
    return folder.path, leaves, [leaf for leaf in leaves if leaf in folder.trees], remembered


def answer(line: bytes) -> bytes:
    """Return of each folder of a batch what stands of its versions, by their place.

    The current directory is ASSETS_DIR.
    """
    batch: Sequence[_Asked] = json.loads(line)
    with closing(AssetsDir(".", FileSystem())) as assets_dir:
        return _line([_look(assets_dir, *folder) for folder in batch])


def _look(
    assets_dir: AssetsDir,
    path: str,
    leaves: Sequence[str],
    trees: Collection[str],
    remembered: Iterable[tuple[str, int, int]],
) -> list[Sequence[object]]:
    known = {key: Known(time_ns, size_bytes) for key, time_ns, size_bytes in remembered}
    versions = versions_in(path, leaves)
    place = {paths: number for number, paths in enumerate(versions)}
    return [
        (place[one.paths], one.size_bytes, one.has_receipt, one.marked, one.marker_time_ns)
        for one in look_at(assets_dir, path, versions, known, frozenset(trees))
    ]


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


def found_in(answered: bytes, batches: Iterable[Sequence[Folder]]) -> list[Found]:
    """Return what a scout that was asked about these folders has found.

    Raises:
        ValueError, TypeError, IndexError: it has not said all of that.
    """
    return [
        Found(folder.versions[place], *facts)
        for batch, line in zip(batches, answered.splitlines(), strict=True)
        for folder, versions in zip(batch, json.loads(line), strict=True)
        for place, *facts in versions
    ]


def _end_with(parent: int) -> None:
    """Let this process be killed when its parent ends, however that comes about."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def main() -> None:
    """Look at what is asked for."""
    os.fchdir(int(sys.argv[1]))
    gc.disable()  # it ends before circles could matter
    # Forked, they need no time to start, and share their memory with this one.
    with ProcessPoolExecutor(
        _PROCESSES, multiprocessing.get_context("fork"), _end_with, (os.getpid(),)
    ) as processes:
        sys.stdout.buffer.writelines(processes.map(answer, sys.stdin.buffer))


if __name__ == "__main__":
    main()
