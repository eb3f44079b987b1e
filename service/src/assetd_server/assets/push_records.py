"""What this node's pushes are about to claim, noted before they do (`layout.md`, "Push", step 7).

A record outlives a daemon that dies: the next one settles it. While its push runs it is live, and
nobody else's business.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from assetd_server.assets.threads import Threads
from assetd_server.cache.push_journal import PushJournal
from assetd_server.errors import AssetError
from assetd_server.manifest import decode_json
from assetd_server.model import AssetName
from assetd_server.store.base import Upload
from assetd_server.store.claims import (
    Claim,
    decode_claim,
    decode_uploads,
    encode_claim,
    is_upload_of,
)
from assetd_server.versioning import Version


@dataclass(frozen=True)
class PushRecord:
    """One version that a push was about to claim with `claim`, and the uploads it has begun."""

    name: AssetName
    version: Version
    claim: Claim
    uploads: Sequence[Upload] = field(default=(), compare=False)

    @property
    def key(self) -> str:
        """Names the record among those of all pushes."""
        return f"{self.claim.claim_id}-{self.version}"


class PushRecords:
    """The records of one daemon's pushes, live or left."""

    def __init__(self, journal: PushJournal, disk: Threads) -> None:
        self._journal = journal
        self._disk = disk
        self._live: dict[str, PushRecord] = {}
        # How often each is kept, and those of them that would be gone otherwise.
        self._kept: Counter[str] = Counter()
        self._done: set[str] = set()
        # What the live ones have begun, and which of them may have left more than that.
        self._uploads: dict[str, set[Upload]] = defaultdict(set)
        self._doubted: set[str] = set()
        self._log = structlog.get_logger()

    async def note(self, record: PushRecord) -> None:
        """Keep a record, durably, before anything is claimed.

        Raises:
            ReadOnlyError, DiskFullError, IoError: nothing may be claimed.
        """
        # Live before the first await: others of this process look for free numbers meanwhile.
        self._live[record.key] = record
        try:
            await self._disk.run(self._journal.add, record.key, _encode(record))
        except BaseException:
            await self.forget(record)
            raise

    async def note_upload(self, record: PushRecord, upload: Upload) -> None:
        """Keep the name of an upload, so that it can be ended after a crash.

        Raises:
            DiskFullError, IoError: it is not kept.
        """
        line = json.dumps([upload.key, upload.upload_id]).encode()
        self._uploads[record.key].add(upload)
        await self._disk.run(self._journal.append, record.key, line)

    def doubt_uploads(self, record: PushRecord) -> None:
        """Note that the store may hold uploads of a push that it has no name of, or no use.

        One that is not live any more is settled by what its record tells.
        """
        if record.key in self._live:
            self._doubted.add(record.key)

    def doubts_uploads(self, record: PushRecord) -> bool:
        """Tell whether a live push has to look for uploads that it has left."""
        return record.key in self._doubted

    def kept_uploads(self, record: PushRecord) -> Set[Upload]:
        """Return the uploads of a live push with which another may go on."""
        return self._uploads[record.key] if self._kept[record.key] else frozenset()

    async def forget(self, record: PushRecord) -> None:
        """Drop a record: nothing of its push is left to settle.

        One that is kept stays on the disk until it is let go. A record that cannot be deleted is
        settled again, which changes nothing.
        """
        self.leave(record)
        if self._kept[record.key]:
            self._done.add(record.key)
            return
        with suppress(AssetError):
            await self._disk.run(self._journal.remove, record.key)

    def leave(self, record: PushRecord) -> None:
        """Let others settle what the push has left."""
        self._live.pop(record.key, None)
        self._uploads.pop(record.key, None)
        self._doubted.discard(record.key)

    def keep(self, record: PushRecord) -> None:
        """Settle nothing of a push that may go on where it was cut, until it is let go.

        A later run settles it all the same.
        """
        self._kept[record.key] += 1

    async def let_go(self, record: PushRecord, *, is_settled: bool) -> None:
        """Undo one `keep`; where something is left in the store, have it settled."""
        self._kept -= Counter([record.key])
        if not is_settled:
            self._done.discard(record.key)
        elif not self._kept[record.key] and record.key in self._done:
            self._done.remove(record.key)
            await self.forget(record)

    def versions_of_others(self, name: AssetName, push_id: str) -> set[Version]:
        """Return the versions of an asset that other pushes of this process are about to make.

        An earlier try of the same push may not have ended yet: the number it had is the push's own.
        """
        return {
            record.version
            for record in self._live.values()
            if record.name == name and record.claim.push_id != push_id
        }

    async def left(self) -> list[PushRecord]:
        """Return the records of pushes that have ended without settling them.

        One that cannot be read was cut short before anything was claimed, or is of a later
        release: it is left alone.

        Raises:
            UnsafePathError, IoError: they cannot be read.
        """
        entries = await self._disk.run(self._journal.entries)
        found = []
        for key, lines in entries.items():
            if key in self._live or self._kept[key]:
                continue
            try:
                found.append(decode_record(lines))
            except ValueError:
                self._log.warning("a push left a record that cannot be read", record=key)
        return found


def _encode(record: PushRecord) -> bytes:
    claim = encode_claim(record.claim).decode()
    return json.dumps(
        {"name": record.name, "version": str(record.version), "claim": claim}
    ).encode()


def decode_record(lines: Sequence[bytes]) -> PushRecord:
    """Return the record that the lines of an entry spell.

    A line that spells no upload of the version costs its upload alone, not the claim: whoever
    settles a record lists the uploads as well.

    Raises:
        ValueError: they spell none.
    """
    try:
        document = decode_json(lines[0])
        name, version = AssetName(document["name"]), Version.parse(document["version"])
        claim = decode_claim(document["claim"].encode(), "journal")
    except (TypeError, KeyError, IndexError, AttributeError, AssetError) as error:
        raise ValueError(f"no record of a push: {type(error).__name__}") from error
    uploads = [upload for line in lines[1:] for upload in _uploads_of(line)]
    own = tuple(upload for upload in uploads if is_upload_of(upload, name, version))
    return PushRecord(name, version, claim, own)


def _uploads_of(line: bytes) -> Sequence[Upload]:
    try:
        return decode_uploads([decode_json(line)])
    except (ValueError, TypeError, AssetError):
        return ()
