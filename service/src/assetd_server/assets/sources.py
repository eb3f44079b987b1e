"""Where a push reads from, if not from its caller: what was staged here, or what a URI names.

Nothing is opened before its name was compared with what is allowed, and nothing outside of that is
opened at all; so a refusal tells nobody what is there. Nothing is ever written, nor deleted.
"""

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from assetd_server.assets.bucket_source import BucketSource, find_kind
from assetd_server.assets.source_uris import (
    STAGED_FIELD,
    URI_FIELD,
    SourceUri,
    StagedPath,
    not_allowed,
)
from assetd_server.assets.threads import Threads
from assetd_server.assets.tree_source import TreeSource
from assetd_server.cache.layout import PUSH, AssetsDir
from assetd_server.cache.source_faults import SourceFaults
from assetd_server.cache.source_tree import SourceTree
from assetd_server.errors import SourceNotAllowedError
from assetd_server.manifest import Part
from assetd_server.model import AssetKind, PartPath
from assetd_server.store.base import CopySource, ObjectStore

# Opens a whole bucket, at the endpoint and with the credentials of the daemon. May block.
OpenBucket = Callable[[str], ObjectStore]

_THREADS: Final = 4
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY


class PushSource(Protocol):
    """What one push reads from, found and allowed. `parts` comes first, and once."""

    kind: AssetKind

    async def parts(self, on_hashed: Callable[[int], None]) -> tuple[Part, ...]:
        """Read everything once; return the parts, with sizes and hashes, in order of their paths.

        The order is bytewise. `on_hashed` is told how many bytes have just been hashed. At most
        some 64 MiB are held in memory, whatever the sizes.

        Raises:
            UnsupportedFileError: it holds something that is no plain file or folder.
            InvalidPartError: it holds an empty folder, or a name that no part may have.
            InvalidFieldError: it holds too many files.
            SourceChangedError: somebody changes it meanwhile.
            SourceNotAllowedError: the daemon may not read some of it.
            IoError, TooManyRequestsError, StoreUnavailableError, StoreAccessDeniedError.
        """

    async def read(self, path: PartPath, offset: int, length: int) -> bytes:
        """Return a range of a part, cut at its end.

        Raises:
            SourceChangedError: it is not what was hashed any more.
            and what `parts` raises of a place that cannot be read.
        """

    def copy_source(self, path: PartPath) -> CopySource | None:
        """Return where a store may find the part by itself; None where its bytes have to travel.

        An empty part has no range to copy: create it.
        """

    async def check_unchanged(self) -> None:
        """List again, and compare with what was hashed.

        On this machine names, inodes, sizes and times, of which nobody can set the last; in a
        bucket keys, sizes and ETags.

        Raises:
            SourceChangedError: something differs.
            and what `parts` raises of a place that cannot be read.
        """

    async def close(self) -> None:
        """Give back what it holds open. The source itself stays as it is."""


class Sources:
    """Finds the sources of pushes: staged ones, and those in the places that are `allowed`."""

    def __init__(
        self,
        assets_dir: AssetsDir,
        allowed: Sequence[SourceUri],
        open_bucket: OpenBucket,
    ) -> None:
        self._dir = assets_dir
        # The most specific first: it may be a link, which is not followed beneath another.
        self._allowed = sorted(allowed, key=lambda uri: len(uri.segments), reverse=True)
        # Of their own: what hashes for minutes must not keep a fetch from its fsync.
        self._threads = Threads("sources", _THREADS)
        self._open_bucket = open_bucket
        self._folders: dict[SourceUri, int] = {}
        self._buckets: dict[str, ObjectStore] = {}
        self._opening = asyncio.Lock()

    async def load(self) -> None:
        """Open the allowed directories, each for the whole run, before anything is asked for.

        A link is followed in the allowed name itself, and only here: whoever can replace it later
        cannot lead the daemon elsewhere.

        Raises:
            SourceNotAllowedError: one of them cannot be opened.
        """
        for uri in self._allowed:
            if not uri.bucket and uri not in self._folders:
                self._folders[uri] = await self._threads.obtain(
                    self._dir.fs.close, self._open_allowed, uri
                )

    def _open_allowed(self, uri: SourceUri) -> int:
        try:
            return self._dir.fs.open_root(uri.path)
        except OSError as error:
            raise SourceNotAllowedError(
                "the directory {path}, which ASSETD_PUSH_SOURCES allows, cannot be opened"
                " ({error}): make it, mount it, or leave it out",
                path=uri.path,
                error=errno.errorcode.get(error.errno or 0, "EIO"),
            ) from error

    async def open(self, content: StagedPath | SourceUri, kind: AssetKind | None) -> PushSource:
        """Return the source that a push names; `kind` is what its caller takes it for, if said.

        Reads nothing of it yet. Close what is returned.

        Raises:
            SourceNotAllowedError: it is not below what is allowed, or the daemon may not look.
            InvalidFieldError: nothing is there, or another kind of thing.
            UnsupportedFileError: it is no plain file or folder, or a link is on the way to it.
            IoError, TooManyRequestsError, StoreUnavailableError, StoreAccessDeniedError.
        """
        if isinstance(content, StagedPath):
            faults = SourceFaults(f"{PUSH}/{content.path}", STAGED_FIELD)
            return await self._open_tree(self._dir.fd, PUSH, content.path, faults, kind)
        allowed, below = self._allowed_place(content)
        if content.bucket:
            return await self._open_objects(content, kind)
        wanted = kind or (AssetKind.DIRECTORY if content.is_folder else None)
        faults = SourceFaults(content.path, URI_FIELD)
        return await self._open_tree(self._folders[allowed], ".", below, faults, wanted)

    def _allowed_place(self, uri: SourceUri) -> tuple[SourceUri, str]:
        for allowed in self._allowed:
            if (below := uri.below(allowed)) is not None:
                return allowed, below
        raise not_allowed(uri)

    async def _open_tree(
        self, dir_fd: int, folder: str, top: str, faults: SourceFaults, wanted: AssetKind | None
    ) -> PushSource:
        tree, kind = await self._threads.obtain(
            _close_found, self._find_tree, dir_fd, folder, top, faults, wanted
        )
        return TreeSource(tree, kind, self._threads)

    def _find_tree(
        self, dir_fd: int, folder: str, top: str, faults: SourceFaults, wanted: AssetKind | None
    ) -> tuple[SourceTree, AssetKind]:
        try:
            base_fd = self._dir.fs.open(dir_fd, folder, _FOLDER)
        except OSError as error:
            raise faults.on_looking(error) from error
        tree = SourceTree(self._dir.fs, base_fd, top, faults)
        try:
            kind = tree.find()
            _require_kind(kind, wanted, faults)
        except BaseException:
            tree.close()
            raise
        return tree, kind

    async def _open_objects(self, uri: SourceUri, wanted: AssetKind | None) -> PushSource:
        store = await self._bucket(uri.bucket)
        faults = SourceFaults(str(uri).removesuffix("/"), URI_FIELD)
        only_below = uri.is_folder or not uri.path
        kind = await find_kind(store, uri.path, only_below=only_below, wanted=wanted)
        if kind is None:
            raise faults.absent()
        _require_kind(kind, wanted, faults)
        return BucketSource(store, uri.path, kind, faults, self._threads)

    async def _bucket(self, bucket: str) -> ObjectStore:
        async with self._opening:
            if bucket not in self._buckets:
                self._buckets[bucket] = await self._threads.run(self._open_bucket, bucket)
            return self._buckets[bucket]

    async def close(self) -> None:
        """Close the allowed directories and the buckets; no source is in use any more. At last."""
        for fd in self._folders.values():
            await self._threads.run(self._dir.fs.close, fd)
        self._folders.clear()
        for store in self._buckets.values():
            await store.close()
        self._buckets.clear()
        await asyncio.to_thread(self._threads.close)


def _close_found(found: tuple[SourceTree, AssetKind]) -> None:
    found[0].close()


def _require_kind(found: AssetKind, wanted: AssetKind | None, faults: SourceFaults) -> None:
    if wanted not in (None, found):
        raise faults.wrong_kind(found, wanted)
