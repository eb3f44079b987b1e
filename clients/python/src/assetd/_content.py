"""What a push is of: files that this process reads, or bytes that the daemon finds by itself.

Makes the requests of the client's turns, and sends none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from assetd._chunks import Chunk, chunk_request, packed
from assetd._hashing import Digests
from assetd._source import Source, SourceFile
from assetd.errors import InternalError
from assetd.v1.asset_service_pb2 import PushCommit, PushFile, PushFiles, PushRequest, PushWanted

FILES_PER_MESSAGE = 1000

# Chunks are serialized where they are made.
Request = PushRequest | bytes


class Content(Protocol):
    """What the version is to hold, as far as the client knows it."""

    def batches(self) -> Iterator[PushFiles]:
        """Give what is to be announced, a message each."""
        ...

    def lacking_bytes(self, wanted: Sequence[PushWanted.Part]) -> int | None:
        """Return how much travels if that is wanted; None where nothing ever does.

        Raises:
            InternalError: something is wanted that was not announced.
        """
        ...

    def last_turn(self, wanted: Sequence[PushWanted.Part], *, packs: bool) -> Iterator[Request]:
        """Give the chunks of what is wanted, several a message where it `packs`, and the commit.

        Raises:
            SourceChangedError: the source is not what was hashed.
        """
        ...

    def check_unchanged(self) -> None:
        """Compare the source with what was hashed.

        Raises:
            SourceChangedError: it differs.
        """
        ...


@dataclass(frozen=True)
class LocalContent:
    """A source that was hashed; without `is_sent` it is announced, and no byte of it travels."""

    source: Source
    digests: Digests
    is_sent: bool

    def batches(self) -> Iterator[PushFiles]:
        """Give all files, at most 1,000 a message."""
        files = self.source.files
        for start in range(0, len(files), FILES_PER_MESSAGE):
            batch = files[start : start + FILES_PER_MESSAGE]
            yield PushFiles(
                files=[
                    PushFile(
                        path=file.path,
                        size_bytes=file.size_bytes,
                        digest=self.digests.files[file.path],
                    )
                    for file in batch
                ]
            )

    def lacking_bytes(self, wanted: Sequence[PushWanted.Part]) -> int | None:
        """Add up what is wanted."""
        if not self.is_sent:
            return None
        return sum(file.size_bytes - offset for file, offset in self._wanted(wanted))

    def last_turn(self, wanted: Sequence[PushWanted.Part], *, packs: bool) -> Iterator[Request]:
        """Read the source as the chunks are taken."""
        chunks = self._chunks(wanted) if self.is_sent else iter(())
        yield from packed(chunks) if packs else map(chunk_request, chunks)
        self.source.check_unchanged()
        yield PushRequest(commit=PushCommit(digest=self.digests.digest))

    def check_unchanged(self) -> None:
        """List the source again."""
        self.source.check_unchanged()

    def _wanted(self, wanted: Sequence[PushWanted.Part]) -> Iterator[tuple[SourceFile, int]]:
        files = {file.path: file for file in self.source.files}
        for part in wanted:
            if part.path not in files:
                raise InternalError(f"the daemon wants {part.path!r}, which was not announced")
            yield files[part.path], part.offset

    def _chunks(self, wanted: Sequence[PushWanted.Part]) -> Iterator[Chunk]:
        for file, start in self._wanted(wanted):
            offset = start
            for data in self.source.read(file, start):
                yield Chunk(file.path, offset, data)
                offset += len(data)


class FoundContent:
    """What the daemon finds where the header says: nothing is announced, and nothing travels."""

    def batches(self) -> Iterator[PushFiles]:
        """Give nothing."""
        return iter(())

    def lacking_bytes(self, _wanted: Sequence[PushWanted.Part]) -> int | None:
        """Return None."""
        return None

    def last_turn(
        self,
        _wanted: Sequence[PushWanted.Part],
        *,
        packs: bool,  # noqa: ARG002
    ) -> Iterator[Request]:
        """Give the commit; its digest is for the daemon to find."""
        yield PushRequest(commit=PushCommit())

    def check_unchanged(self) -> None:
        """Do nothing: the daemon compares what it reads."""
