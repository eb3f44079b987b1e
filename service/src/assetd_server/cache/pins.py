"""Pins: versions that an operator wants kept, as fsynced files below `.assetd/pins`.

A pin is named by the version's key and holds its path. It outlives the daemon, and the version too:
who removes a version by hand finds it pinned when it is fetched again. All methods block, but for
`is_pinned`, which asks what was read at the start of the run.
"""

from contextlib import suppress

from assetd_server.cache.ingest import write_new
from assetd_server.cache.layout import PINS, AssetsDir, VersionPaths, os_errors

_MAX_PIN_BYTES = 4096


class Pins:
    """The pins of one ASSETS_DIR. One daemon has it, so what it remembers is what there is."""

    def __init__(self, assets_dir: AssetsDir) -> None:
        """Remember no pin yet: `load` reads them."""
        self._dir = assets_dir
        self._pinned: set[str] = set()

    def load(self) -> None:
        """Read the pins that earlier runs left.

        Raises:
            UnsafePathError, IoError: they cannot be read, so nobody knows what must stay.
        """
        with os_errors(PINS):
            try:
                with self._dir.folder(PINS) as fd:
                    names = [entry.name for entry in self._dir.fs.list_names(fd)]
            except FileNotFoundError:
                return
            for name in names:
                content = self._dir.read_small(f"{PINS}/{name}", _MAX_PIN_BYTES)
                if content and not name.startswith("."):
                    self._pinned.add(content.decode(errors="replace").rstrip("\n"))

    def is_pinned(self, key: str) -> bool:
        """Tell whether the version at the path `key` is pinned."""
        return key in self._pinned

    def pin(self, paths: VersionPaths) -> None:
        """Keep a version; on return the pin survives a power cut. Idempotent.

        Raises:
            ReadOnlyError, DiskFullError, IoError: it is not pinned.
        """
        if paths.data in self._pinned:
            return
        aside = f".{paths.key}"
        with os_errors(PINS), self._dir.durable_folder(PINS) as fd:
            write_new(self._dir, f"{PINS}/{aside}", f"{paths.data}\n".encode())
            self._dir.fs.rename(fd, aside, fd, paths.key)
            self._dir.fs.fsync(fd)
        self._pinned.add(paths.data)

    def unpin(self, paths: VersionPaths) -> None:
        """Undo `pin`; on return that survives a power cut. Idempotent.

        Raises:
            ReadOnlyError, IoError: it may be pinned still.
        """
        if paths.data not in self._pinned:
            return
        # Somebody may have deleted `.assetd`, which unpins.
        with os_errors(PINS), suppress(FileNotFoundError), self._dir.folder(PINS) as fd:
            self._dir.fs.unlink(fd, paths.key)
            self._dir.fs.fsync(fd)
        self._pinned.discard(paths.data)
