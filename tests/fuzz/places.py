"""Where things may be: rules for paths and keys, real looks at what they lead to, and who watches.

The watch is told of every open by Python itself (`sys.addaudithook`), and of those that the cache
makes past Python by its own file system. A canary stands outside, where a path that climbs by one
or two folders would find it.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assetd_server.cache.layout import AssetsDir, PartialPaths, VersionPaths
from assetd_server.cache.linux import FileSystem
from assetd_server.cache.lookup import Lookup
from assetd_server.errors import AssetError
from assetd_server.model import AssetKind, AssetName, PartPath
from assetd_server.store.base import KeyNotFoundError
from assetd_server.store.catalog import claim_key, index_key, meta_key, part_key
from assetd_server.store.local.files import LocalFiles
from assetd_server.store.local.root import LocalRoot
from assetd_server.versioning import Version

from tests.support.versions import put, put_ours

_EVENTS: Final = frozenset(
    {
        *("open", "os.scandir", "os.listdir", "os.mkdir", "os.rename", "os.remove", "os.rmdir"),
        *("os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.utime", "os.chdir"),
        *("subprocess.Popen", "os.system", "os.exec", "socket.connect"),
    }
)
_HARMLESS: Final = frozenset({"open", "os.scandir", "os.listdir", "os.utime"})
# An empty segment, `.` or `..`; what ends a path or parts it elsewhere; more than a folder takes.
_LEAVES: Final = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\0\\]|[^/]{256}")
_LONGEST: Final = Version.parse("2026-11-23T00-00-00Z")
_PART: Final = PartPath("sub/part")


@dataclass(frozen=True)
class Opened:
    """Something that was tried with a path; `follows` a link at its end or fails there."""

    event: str
    path: str
    follows: bool

    @property
    def leads_to(self) -> str:
        """The path without the links that are followed."""
        above, _, leaf = self.path.rpartition("/")
        return os.path.realpath(self.path if self.follows else above) + (
            "" if self.follows else f"/{leaf}"
        )

    def __str__(self) -> str:
        return f"{self.event} {self.path!r}"


class Watch:
    """What is opened while it is on. There is one in a process: a hook cannot be undone."""

    def __init__(self) -> None:
        self._seen: list[Opened] = []
        self._is_on = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._is_on and event in _EVENTS:
            where = arguments[0] if arguments else ""
            path = f"/proc/self/fd/{where}" if isinstance(where, int) else os.fsdecode(where)
            # The client alone touches, and never through a link: `os.utime` does not tell.
            links = event == "os.utime" or (event == "open" and arguments[2] & os.O_NOFOLLOW)
            self._seen.append(Opened(event, path, follows=not links))

    def begin(self) -> None:
        """Watch from now on."""
        self._is_on = True

    def end(self) -> list[Opened]:
        """Watch no longer, and return what was opened."""
        self._is_on = False
        seen, self._seen = self._seen, []
        return seen

    @contextmanager
    def keeping_below(self, root: Path) -> Iterator[None]:
        """Whatever is done in the block is reading, or touching, below `root`, links resolved."""
        self.begin()
        try:
            yield
        finally:
            seen = self.end()
        for opened in seen:
            assert opened.event in _HARMLESS, f"{opened} is no reading"
            assert f"{opened.leads_to}/".startswith(f"{root}/"), f"{opened} is not below {root}"


class World:
    """ASSETS_DIRs of a daemon and of readers, and a store, with a canary beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.assets = folder / "in/assets"
        self.readers = folder / "in/readers"
        self.store = folder / "in/store"
        outside = folder / "outside"
        for root in (self.assets, self.readers, self.store, outside, folder / "in/outside"):
            root.mkdir(parents=True)
            for name, content in (("some/asset", b"file"), ("a", {"b": b"part", "sub/c": b"c"})):
                put_ours(root, content, VersionPaths(AssetName(name), Version.parse("0.1")))
                put(root, content, VersionPaths(AssetName(name), Version.parse("1.2")), marker=b"")
                (root / f"{name}.versions").write_text('{"versions": ["1.2", "0.1"]}')
        # A reader follows folders that are links, as operators make them; the daemon follows none.
        (self.assets / "some/link").symlink_to(outside)
        for root in (self.assets, self.readers):
            (root / "a/0.1/link").symlink_to(outside / "a/0.1")
            (root / "a/0.9").symlink_to(outside / "a/0.1")
        self._fs = _WatchedFileSystem(str(self.assets))
        self._dir = AssetsDir(str(self.assets), self._fs)
        self._lookup = Lookup(self._dir)
        self._files = LocalFiles(LocalRoot(self.store))

    def look_in_cache(self, name: AssetName, version: Version, part: PartPath | None) -> None:
        """Look as a fetch would; the file system checks each open of it."""
        for paths in (VersionPaths(name, version), PartialPaths(name, version)):
            try:
                self._lookup.look(paths)
                self._lookup.stands(paths.part(part or PartPath.of_file()))
                self._dir.read_small(paths.part(part or PartPath.of_file()), 1000)
            except (AssetError, OSError):
                continue

    def look_in_store(self, watch: Watch, keys: list[str]) -> None:
        """Open what the keys name in a store that is a directory."""
        with watch.keeping_below(self.store):
            for key in keys:
                try:
                    self._files.open(key)
                except (AssetError, KeyNotFoundError):
                    continue


class _WatchedFileSystem(FileSystem):
    """The real calls; whatever is opened is asked where it is."""

    def __init__(self, root: str) -> None:
        self._root = root

    def open(self, dir_fd: int, path: str, flags: int, mode: int = 0o644) -> int:
        fd = super().open(dir_fd, path, flags, mode)
        where = str(Path(f"/proc/self/fd/{fd}").readlink())
        assert where == self._root or where.startswith(f"{self._root}/"), f"{path!r} is {where!r}"
        return fd

    def lstat(self, dir_fd: int, name: str) -> os.stat_result:
        assert name not in ("", ".."), f"{name!r} is no entry"
        assert "/" not in name, f"{name!r} is no entry"
        return super().lstat(dir_fd, name)


def require_beneath(path: str) -> None:
    """Nothing in the path climbs, is empty, or ends it early for the kernel."""
    assert not _LEAVES.search(path), f"{path!r} is not a plain path below a folder"


def require_version_in_place(name: AssetName, version: Version, part: PartPath | None) -> None:
    """All paths and keys of a version lie below their folder, and none is one of ours."""
    whole = VersionPaths(name, version)
    partial = PartialPaths(name, version)
    inner = part or _PART
    for path in (
        whole.data,
        whole.part(inner),
        whole.marker(AssetKind.FILE),
        meta_key(name, version),
    ):
        require_beneath(path)
        assert path.startswith(f"{name}/"), path
        assert not path.startswith("."), path
    for path in (partial.data, partial.part(inner), partial.receipt, claim_key(name, version)):
        require_beneath(path)
        assert path.startswith(".assetd/"), path
    assert partial.part(inner) != partial.receipt
    if whole.modelkit_lock is not None:
        require_beneath(whole.modelkit_lock)
    assert len(whole.key) == 32


def keys_of(name: AssetName, version: Version, part: PartPath | None) -> list[str]:
    """The keys that a fetch, a listing and a push ask a store for."""
    inner = part or PartPath.of_file()
    return [
        index_key(name) if len(name) < 200 else name,
        meta_key(name, version),
        part_key(name, version, inner),
        claim_key(name, version),
    ]


ANY_VERSION: Final = _LONGEST
