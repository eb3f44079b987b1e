"""The source of a push that is a file or folder of this machine, read off the event loop.

Work is handed to threads a stretch at a time, so that a caller who leaves is not waited for by the
hash of a hundred GiB. Small files go many to a stretch: a hop into a thread each is most of what
hashing them would cost.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from assetd_server.assets.at_once import work_through
from assetd_server.assets.threads import Threads
from assetd_server.cache.hashing import RunningHashes
from assetd_server.cache.source_tree import SourceFile, SourceTree, check_same
from assetd_server.errors import (
    InvalidFieldError,
    InvalidPartError,
    SourceNotAllowedError,
    UnsupportedFileError,
)
from assetd_server.manifest import Part
from assetd_server.model import AssetKind, PartPath
from assetd_server.store.base import CopySource

# About as long as a thread is to be kept: a tenth of a second.
_STRETCH_BYTES: Final = 32 * 2**20
_STRETCH_FILES: Final = 256
_AT_ONCE: Final = 4
# What a first listing would have been refused for.
_REFUSALS: Final = (
    InvalidFieldError,
    InvalidPartError,
    SourceNotAllowedError,
    UnsupportedFileError,
)


class TreeSource:
    """A `PushSource` on this machine; `tree` is closed with it."""

    def __init__(self, tree: SourceTree, kind: AssetKind, threads: Threads) -> None:
        self.kind = kind
        self._tree = tree
        self._threads = threads
        self._files: dict[PartPath, SourceFile] = {}

    async def parts(self, on_hashed: Callable[[int], None]) -> tuple[Part, ...]:
        """List and hash all files; see `PushSource.parts`."""
        files = await self._list()
        self._files = {file.path: file for file in files}

        async def hashed(some: Sequence[SourceFile]) -> Sequence[Part]:
            return await self._hash(some, on_hashed)

        done = await work_through(_stretches(files), _AT_ONCE, hashed)
        parts = (part for some in done for part in some)
        return tuple(sorted(parts, key=lambda part: part.path.encode()))

    async def _list(self) -> Sequence[SourceFile]:
        files: list[SourceFile] = []
        walk = self._tree.list(self.kind)
        while (more := await self._threads.run(_next_files, walk)) is not None:
            files += more
        return files

    async def _hash(
        self, files: Sequence[SourceFile], on_hashed: Callable[[int], None]
    ) -> Sequence[Part]:
        if len(files) == 1:
            return [await self._hash_one(files[0], on_hashed)]
        hashed = await self._threads.run(self._tree.hash_all, files)
        on_hashed(sum(file.size_bytes for file in files))
        return hashed

    async def _hash_one(self, file: SourceFile, on_hashed: Callable[[int], None]) -> Part:
        hashes = RunningHashes()
        while True:
            on_hashed(await self._threads.run(self._tree.hash_on, file, hashes, _STRETCH_BYTES))
            if hashes.size_bytes == file.size_bytes:
                return hashes.part(file.path)

    async def read(self, path: PartPath, offset: int, length: int) -> bytes:
        """Read of the file what was hashed; see `PushSource.read`."""
        return await self._threads.run(self._tree.read, self._files[path], offset, length)

    def copy_source(self, path: PartPath) -> CopySource | None:  # noqa: ARG002 - none of them
        """Return None: no store has the file."""
        return None

    async def check_unchanged(self) -> None:
        """List again, and compare; see `PushSource.check_unchanged`."""
        try:
            now = await self._list()
        except _REFUSALS:
            raise self._tree.faults.changed() from None
        check_same(self._files.values(), now, self._tree.faults)

    async def close(self) -> None:
        """Close the folder; see `PushSource.close`."""
        await self._threads.run(self._tree.close)


def _next_files(walk: Iterator[Sequence[SourceFile]]) -> Sequence[SourceFile] | None:
    """Return the files of some folders; None after the last one."""
    files: list[SourceFile] = []
    for some in walk:
        files += some
        if len(files) >= _STRETCH_FILES:
            return files
    return files or None


def _stretches(files: Iterable[SourceFile]) -> Iterator[Sequence[SourceFile]]:
    """Yield the files, several together where they are small."""
    some: list[SourceFile] = []
    size_bytes = 0
    for file in files:
        if some and (size_bytes + file.size_bytes > _STRETCH_BYTES or len(some) == _STRETCH_FILES):
            yield some
            some, size_bytes = [], 0
        some.append(file)
        size_bytes += file.size_bytes
    if some:
        yield some
