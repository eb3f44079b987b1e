"""The folder of interrupted downloads: what in it is worth keeping, and for how long.

Staging is swept by age only, and never what a flight of this daemon works in. Knows no store.
"""

import stat
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from assetd_server.cache.ingest import DATA
from assetd_server.cache.journal import JOURNAL
from assetd_server.cache.layout import STAGING, TRASH, AssetsDir, os_errors


def delete_worthless(assets_dir: AssetsDir) -> None:
    """Delete what no later flight can go on from: what has no journal, or no data any more.

    For the start of a run, before any flight.

    Raises:
        OSError: some of it may stay.
    """
    for key in _keys(assets_dir):
        folder = f"{STAGING}/{key}"
        facts = assets_dir.stat(folder)
        is_folder = facts is not None and stat.S_ISDIR(facts.st_mode)
        if not is_folder or not _can_be_resumed(assets_dir, folder):
            assets_dir.remove_tree(folder)


def _can_be_resumed(assets_dir: AssetsDir, folder: str) -> bool:
    return all(assets_dir.stat(f"{folder}/{leaf}") is not None for leaf in (JOURNAL, DATA))


def _keys(assets_dir: AssetsDir) -> list[str]:
    try:
        with assets_dir.folder(STAGING) as fd:
            return [entry.name for entry in assets_dir.fs.list_names(fd)]
    except FileNotFoundError:
        return []


def kept_downloads(assets_dir: AssetsDir) -> dict[str, int]:
    """Return what each download that nobody works on takes up, by its path below ASSETS_DIR.

    Raises:
        UnsafePathError, IoError: staging cannot be read.
    """
    with os_errors(STAGING):
        keys = [key for key in _keys(assets_dir) if not assets_dir.staging_keys.is_used(key)]
        return {path: bytes_kept(assets_dir, path) for path in map(path_of, keys)}


def path_of(key: str) -> str:
    """Return where the download of the version with that key is staged."""
    return f"{STAGING}/{key}"


def bytes_kept(assets_dir: AssetsDir, path: str) -> int:
    """Return what a download takes up; 0 where there is none.

    Raises:
        UnsafePathError, IoError: it cannot be read.
    """
    with os_errors(path):
        return sum(_blocks_below(assets_dir, path))


def _blocks_below(assets_dir: AssetsDir, path: str) -> Iterator[int]:
    # Whatever it is called: a sealed version has its marker here, which is no part.
    facts = assets_dir.stat(path)
    if facts is None:
        return
    if not stat.S_ISDIR(facts.st_mode):
        # Ranges come in any order: what is not there yet is a hole.
        yield facts.st_blocks * 512
        return
    with assets_dir.folder(path) as fd:
        names = [entry.name for entry in assets_dir.fs.list_names(fd)]
    for name in names:
        yield from _blocks_below(assets_dir, f"{path}/{name}")


def delete_unused(assets_dir: AssetsDir, path: str) -> bool:
    """Delete a download, unless a flight works on it; tell whether it is gone.

    Raises:
        ReadOnlyError, IoError: some of it stays.
    """
    with os_errors(path):
        key = path.rpartition("/")[2]
        aside = f"{key}.{uuid.uuid4().hex}"
        with assets_dir.staging_keys.unused(key) as unused:
            if not unused:
                return False
            # Renamed first: a flight that begins meanwhile finds all of it, or nothing.
            with (
                assets_dir.folder(STAGING) as staging,
                assets_dir.ensured_folder(TRASH) as trash,
                suppress(FileNotFoundError),
            ):
                assets_dir.fs.rename(staging, key, trash, aside)
        assets_dir.remove_tree(f"{TRASH}/{aside}")
        return True


@dataclass
class _Sight:
    """A download that lies there: since which of our own seconds, and how old it was by then."""

    mtime_ns: int
    at_seconds: float
    age_seconds: float


class StagingSweep:
    """Deletes downloads that nobody has gone on with for `max_age_seconds`."""

    def __init__(self, assets_dir: AssetsDir, max_age_seconds: float) -> None:
        self._dir = assets_dir
        self.max_age_seconds = max_age_seconds
        self._seen: dict[str, _Sight] = {}

    def sweep(self, wall_seconds: float, monotonic_seconds: float) -> None:
        """Delete what is too old by now. Called again and again; blocks.

        The wall clock counts at the first sight of a download only, for clocks jump: from then on
        its age grows with our own seconds. One from the future counts as written just now.

        Raises:
            ReadOnlyError, IoError: some of it stays.
        """
        with os_errors(STAGING):
            seen, self._seen = self._seen, {}
            for key in _keys(self._dir):
                mtime_ns = self._mtime_ns(key)
                sight = seen.get(key)
                if sight is None or sight.mtime_ns != mtime_ns:
                    age = max(wall_seconds - mtime_ns / 1e9, 0.0) if sight is None else 0.0
                    sight = _Sight(mtime_ns, monotonic_seconds, age)
                self._seen[key] = sight
                age = sight.age_seconds + monotonic_seconds - sight.at_seconds
                if age > self.max_age_seconds:
                    delete_unused(self._dir, path_of(key))

    def _mtime_ns(self, key: str) -> int:
        facts = self._dir.stat(f"{STAGING}/{key}/{JOURNAL}") or self._dir.stat(f"{STAGING}/{key}")
        return facts.st_mtime_ns if facts else 0
