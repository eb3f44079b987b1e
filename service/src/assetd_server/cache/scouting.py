"""A scout: the program that looks at versions for a walk over very many, in a process of its own.

To look at a version takes two to four short calls, and at each of them threads of one process hand
the interpreter's lock around: for 100,000 versions that cost more than the calls, and the event
loop waited with them. `python -m assetd_server.cache.scouting FD` reads from standard input which
versions are meant, below the ASSETS_DIR that the descriptor `FD` is of, writes to standard output
what stands of them, and ends. It changes nothing, and remembers nothing.
"""

import json
import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.linux import FileSystem
from assetd_server.cache.scan import Folder, Found, Known, look_at, versions_in

# A disk answers as many reads in about the time of one.
_THREADS = 4

# A folder: its path, its versions, those that were folders, and what is known of them.
_Asked = tuple[str, list[str], list[str], list[tuple[str, int, int]]]


def question(batches: Iterable[Sequence[Folder]], known: Mapping[str, Known]) -> bytes:
    """Return what a scout is to read: the versions of these folders, and what is known of them."""
    asked = [[_asked(folder, known) for folder in batch] for batch in batches]
    return json.dumps(asked).encode()


def _asked(folder: Folder, known: Mapping[str, Known]) -> Sequence[object]:
    leaves = [paths.leaf for paths in folder.versions]
    remembered = [
        (paths.data, one.marker_time_ns, one.size_bytes)
        for paths in folder.versions
        if (one := known.get(paths.data))
    ]
    return folder.path, leaves, [leaf for leaf in leaves if leaf in folder.trees], remembered


def answer(assets_dir: AssetsDir, asked: bytes) -> bytes:
    """Return what a scout writes: of each folder what stands of its versions, by their place.

    It looks at as many batches at a time as there are threads.
    """

    def look(batch: Sequence[_Asked]) -> list[list[Sequence[object]]]:
        return [_look(assets_dir, *one) for one in batch]

    with ThreadPoolExecutor(_THREADS) as threads:
        return json.dumps(list(threads.map(look, json.loads(asked)))).encode()


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


def found_in(answered: bytes, batches: Iterable[Sequence[Folder]]) -> list[Found]:
    """Return what a scout that was asked about these folders has found.

    Raises:
        ValueError, TypeError, IndexError: it has not said all of that.
    """
    return [
        Found(folder.versions[place], *facts)
        for batch, looked in zip(batches, json.loads(answered), strict=True)
        for folder, versions in zip(batch, looked, strict=True)
        for place, *facts in versions
    ]


def main() -> None:
    """Look at what is asked for."""
    os.fchdir(int(sys.argv[1]))
    asked = sys.stdin.buffer.read()
    sys.stdout.buffer.write(answer(AssetsDir(".", FileSystem()), asked))


if __name__ == "__main__":
    main()
