"""What has come of one push: its header, its files, its bytes. Knows no wire and no claim's steps.

With the files' digests known beforehand a push is claimed at its header, and its bytes go to the
store as they come. Without, they are spooled on this node's disk and hashed (`cache.spool`).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field

from assetd_server.assets.claimed import ClaimedVersion
from assetd_server.assets.orders import PushChunk, PushHeader, PushPhase, PushProgress, PushStep
from assetd_server.assets.push_plan import ExistingVersion, PushPlan
from assetd_server.assets.storing import other_bytes
from assetd_server.cache.spool import Spool
from assetd_server.errors import (
    InvalidFieldError,
    InvalidPushStreamError,
    PushMismatchError,
    PushNotCommittedError,
)
from assetd_server.manifest import ManifestSize, Part, version_digest
from assetd_server.model import (
    AssetKind,
    AssetVersion,
    Digest,
    PartPath,
    require_distinct_parts,
)
from assetd_server.versioning import Version


@dataclass
class Received:
    """What has come of one push, and how far it is; `phase` where the figures do not say it."""

    header: PushHeader
    plan: PushPlan
    announced: dict[PartPath, Part] = field(default_factory=dict)
    # No more files will be announced.
    is_announced: bool = False
    manifest_size: ManifestSize = field(default_factory=ManifestSize)
    wanted: set[PartPath] = field(default_factory=set)
    received_bytes: int = 0
    stored_bytes: int = 0
    stored_of: dict[PartPath, int] = field(default_factory=dict)
    phase: PushPhase | None = None
    claimed: ClaimedVersion | ExistingVersion | None = None

    @property
    def total_bytes(self) -> int | None:
        """The sizes of all files; None until every one is announced."""
        if not self.is_announced:
            return None
        return sum(part.size_bytes or 0 for part in self.announced.values())

    @property
    def phase_now(self) -> PushPhase:
        """What happens once all bytes have come."""
        if self.phase is not None:
            return self.phase
        is_stored = self.stored_bytes == self.total_bytes
        return PushPhase.COMMITTING if is_stored else PushPhase.STORING

    def count(self, path: PartPath, stored_bytes: int) -> None:
        """Take how many bytes of a file are in the store by now.

        Of one that has to be stored once more nothing is counted again, nor taken off.
        """
        more_bytes = stored_bytes - self.stored_of.get(path, 0)
        if more_bytes > 0:
            self.stored_of[path] = stored_bytes
            self.stored_bytes += more_bytes

    def count_anew(self) -> None:
        """Count from nothing: all has to be stored under another claim."""
        self.stored_of.clear()
        self.stored_bytes = 0

    def progress(self, phase: PushPhase) -> PushProgress:
        """Return how far the push is."""
        return PushProgress(phase, self.received_bytes, self.stored_bytes, self.total_bytes)

    def announce(self, files: Sequence[Part]) -> None:
        """Take the names of files.

        Raises:
            InvalidFieldError: a name that the kind of asset cannot have, twice the same, or no
                digest where the header has one.
            PushMismatchError: a file asset's digest is not the header's.
        """
        for part in files:
            self._require_announceable(part)
            self.announced[part.path] = part
        if self.plan.kind is AssetKind.FILE and self.header.digest is not None:
            # Nothing of a file that is not the one that was claimed shall reach the store.
            self.require_digest(list(self.announced.values()), None)

    def _require_announceable(self, part: Part) -> None:
        if part.path in self.announced:
            raise InvalidFieldError(
                "the file {path!r} was announced twice", field="files.files.path", path=part.path
            )
        if self.plan.kind is AssetKind.FILE and part.path:
            raise InvalidFieldError(
                "a file asset has one file, whose path is empty, and {path!r} was announced",
                field="files.files.path",
                path=part.path,
            )
        if self.plan.kind is AssetKind.DIRECTORY and not part.path:
            raise InvalidFieldError(
                "a file of a directory asset needs a path", field="files.files.path"
            )
        if self.header.digest is not None and part.sha256_hex is None:
            raise InvalidFieldError(
                "header.digest is set, so each file needs its digest, and {path!r} has none",
                field="files.files.digest",
                path=part.path,
            )

    def require_next(self, chunk: PushChunk, have: int) -> Part:
        """Return the file that a chunk continues, of which `have` bytes have come.

        Raises:
            InvalidPushStreamError: the file was not announced.
            PushMismatchError: bytes are missing before the chunk, or there are too many.
        """
        part = self.announced.get(chunk.path)
        if part is None:
            raise InvalidPushStreamError(
                "a chunk of {path!r} came before the file was announced",
                field="chunk.path",
                path=chunk.path,
            )
        if chunk.offset != have:
            raise PushMismatchError(
                "a chunk of {path!r} begins at {offset}, and {expected_offset} bytes have come:"
                " send the chunks of a file in order",
                path=chunk.path,
                offset=chunk.offset,
                expected_offset=have,
                field="chunk.offset",
            )
        if part.size_bytes is not None and have + len(chunk.data) > part.size_bytes:
            raise wrong_size(part, have + len(chunk.data))
        return part

    def require_announced(self) -> None:
        """Check that the files can stand together.

        Raises:
            InvalidPushStreamError: there are none.
            InvalidPartError: one stands in another's way.
        """
        if not self.announced:
            raise InvalidPushStreamError("a push needs at least one file", field="files")
        require_distinct_parts(self.announced, "files.files.path")

    def require_digest(self, parts: Sequence[Part], committed: Digest | None) -> Digest:
        """Return the digest of the whole, which is what header and commit announced.

        Raises:
            PushMismatchError: it is another.
        """
        digest = version_digest(self.plan.kind, parts)
        for name, expected in (("header.digest", self.header.digest), ("commit.digest", committed)):
            if expected not in (None, digest):
                raise PushMismatchError(
                    "what came has the digest {found}, and {expected} was announced",
                    field=name,
                    found=digest,
                    expected=expected,
                )
        return digest


def spooled_parts(received: Received, spool: Spool) -> tuple[Part, ...]:
    """Return what was spooled, hashed, in bytewise order; every announced file has come.

    Raises:
        PushMismatchError: a file is not what was announced.
    """
    came = [spool.part(path) for path in received.announced]
    for part in came:
        announced = received.announced[part.path]
        if announced.size_bytes not in (None, part.size_bytes):
            raise wrong_size(announced, part.size_bytes or 0)
        if announced.sha256_hex not in (None, part.sha256_hex):
            raise other_bytes(announced, part.sha256_hex)
    return tuple(sorted(came, key=lambda part: part.path.encode()))


def wrong_size(announced: Part, found: int) -> PushMismatchError:
    """Return the failure of a file that has another length than was announced."""
    return PushMismatchError(
        "{path!r} was announced with {expected_bytes} bytes, and {found_bytes} came: the file"
        " changed while it was sent",
        field="files.files.size_bytes",
        path=announced.path,
        expected_bytes=announced.size_bytes,
        found_bytes=found,
    )


def described(
    plan: PushPlan, version: Version, parts: Sequence[Part], digest: Digest | None
) -> AssetVersion:
    """Return the version that a push would create, for who only asks."""
    return AssetVersion(
        name=plan.name,
        version=version,
        kind=plan.kind,
        size_bytes=sum(part.size_bytes or 0 for part in parts),
        file_count=len(parts),
        digest=digest,
        labels=plan.labels,
        pushed_by=plan.pushed_by,
    )


async def in_time(
    steps: AsyncIterator[PushStep], idle_seconds: float
) -> AsyncGenerator[PushStep, None]:
    """Yield the steps of a push.

    Raises:
        PushNotCommittedError: the next one is overdue.
    """
    while True:
        try:
            async with asyncio.timeout(idle_seconds):
                step = await anext(steps, None)
        except TimeoutError:
            raise PushNotCommittedError(
                "nothing came of the push for {idle_seconds} s: it was given up, and nothing was"
                " created",
                idle_seconds=f"{idle_seconds:g}",
            ) from None
        if step is None:
            return
        yield step
