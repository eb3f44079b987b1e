"""Is this store atomic? Races itself against the real store, and believes only what comes of it.

"Supports conditional writes" is often untrue, and what a push rests on cannot be mended later: some
stores ignore a precondition, others check it and then write, with a window between the two. Every
check is a promise of `ObjectStore`; the races are run several times, since a window of a few
milliseconds is not hit at every try. Knows no asset.

A refusal may be about a racer's own write, whose answer was lost and which was repeated: so what
stands under the key afterwards is read, and each racer writes other bytes.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from assetd_server.errors import (
    AssetError,
    StoreAccessDeniedError,
    StoreUnavailableError,
    UnsafeStoreError,
)
from assetd_server.store.base import (
    EtagMismatchError,
    KeyExistsError,
    KeyNotFoundError,
    ObjectInfo,
    ObjectStore,
    StoreSignalError,
    Upload,
    UploadNotFoundError,
)

_T = TypeVar("_T")

PROBE_PREFIX: Final = ".assetd/probe/"
RACERS: Final = 16
_ROUNDS = 4
_CLEAN_UP_SECONDS = 30.0
# The longer a write takes, the wider is the window of a store that looks before it.
_ENTRY_BYTES = 16 << 10


@dataclass(frozen=True)
class Check:
    """What came of one check: `detail` says what was seen, for people."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class ProbeReport:
    """All checks, in the order in which they were made."""

    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that the store did not pass; none, where pushes to it are safe."""
        return tuple(check for check in self.checks if not check.ok)


class _BrokenError(Exception):
    """The store did what it must not do; the text says what."""


async def probe(store: ObjectStore) -> ProbeReport:
    """Try whether the store keeps the promises that a push rests on.

    Writes small objects and uploads below `.assetd/probe/`, some six hundred calls, and removes
    them again, also where it fails. Run it to its end: a call that is cancelled may take effect
    after its key was removed.

    Raises:
        StoreUnavailableError, StoreAccessDeniedError, DiskFullError: nothing can be said of the
            store now.
    """
    trial = _Trial(store)
    try:
        return ProbeReport(tuple(await _outcomes(trial)))
    finally:
        await trial.clean_up()


async def _outcomes(trial: "_Trial") -> list[Check]:
    checks: list[Check] = []
    for name, check in trial.checks:
        try:
            checks.append(await _outcome(name, check))
        except (StoreUnavailableError, StoreAccessDeniedError) as failure:
            # A store that was seen to be unsafe is unsafe, whatever it cannot answer beside that;
            # but one that has answered nothing yet may be down, or the credentials may be wrong.
            if {check.ok for check in checks} != {True, False}:
                raise
            return [*checks, Check(name, ok=False, detail=str(failure))]
    return checks


async def _outcome(name: str, check: Callable[[], Awaitable[str]]) -> Check:
    try:
        return Check(name, ok=True, detail=await check())
    except (_BrokenError, UnsafeStoreError) as broken:
        return Check(name, ok=False, detail=str(broken))
    except StoreSignalError as signal:
        return Check(name, ok=False, detail=f"unexpected answer: {type(signal).__name__}")


class _Trial:
    """One run: its keys, its uploads, and the checks made with them."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        # No folder for each run: a store on a disk would keep it.
        self._root = f"{PROBE_PREFIX}{uuid.uuid4().hex}"
        self._keys: list[str] = []
        self._uploads: list[Upload] = []
        self.checks: Sequence[tuple[str, Callable[[], Awaitable[str]]]] = (
            ("absent key", self._absent),
            ("create twice", self._create_twice),
            ("listing", self._listing),
            ("stale swap", self._stale_swap),
            ("swap of nothing", self._swap_of_nothing),
            ("upload over a key", self._upload_over_key),
            ("create race", self._create_race),
            ("swap race", self._swap_race),
            ("upload race", self._upload_race),
            ("mixed race", self._mixed_race),
            ("damaged object", self._damaged_object),
            # Last: there are stores that answer it with a failure, which must not hide the others.
            ("aborted upload", self._aborted_upload),
        )

    def _key(self, name: str) -> str:
        """Return a key that nobody has written; it is removed at the end."""
        self._keys.append(f"{self._root}.{name}")
        return self._keys[-1]

    async def _upload(self, key: str, data: bytes) -> tuple[Upload, list[str]]:
        """Return an upload of one part that waits to be completed; it is aborted at the end."""
        upload = await self._store.start_upload(key)
        self._uploads.append(upload)
        return upload, [await self._store.upload_part(upload, 1, 0, [data])]

    async def clean_up(self) -> None:
        """Remove whatever the checks have left.

        What cannot be removed, or not in time, is left for `assetd doctor` to list: the verdict, or
        the failure that kept it from being found, matters more.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLEAN_UP_SECONDS):
                await asyncio.gather(
                    *(self._store.abort_upload(upload) for upload in self._uploads),
                    *(self._store.delete(key) for key in self._keys),
                    return_exceptions=True,
                )
                await self._abort_unnamed()

    async def _abort_unnamed(self) -> None:
        """Abort uploads that were begun by calls whose answers were lost."""
        with suppress(AssetError, StoreSignalError):
            async for unfinished in self._store.uploads(self._root):
                await self._store.abort_upload(unfinished.upload)

    # The promises, one after the other

    async def _absent(self) -> str:
        key = self._key("absent")
        # As many at once as will race: their connections are open by then.
        await _all(*(self._require_absent(key) for _ in range(RACERS)))
        return "said to be absent"

    async def _require_absent(self, key: str) -> None:
        try:
            await self._store.head(key)
        except KeyNotFoundError:
            return
        except StoreAccessDeniedError as denied:
            raise _BrokenError(
                "access is denied where a key is absent, and nobody can tell the two apart: allow"
                f" s3:ListBucket on the bucket ({denied.metadata.get('cause', 'no cause')})"
            ) from None
        raise _BrokenError("a key that should be absent is said to be there")

    async def _create_twice(self) -> str:
        key = self._key("twice")
        await self._create(key, b"first")
        with suppress(KeyExistsError):
            await self._store.create(key, b"second")
            raise _BrokenError("a second create of a key succeeded: If-None-Match is ignored")
        await self._require_bytes(key, b"first")
        return "the second was refused"

    async def _listing(self) -> str:
        key = self._key("listed")
        await self._create(key, b"listed")
        async for page in self._store.list(PROBE_PREFIX):
            if any(info.key == key for info in page.objects):
                return "a new key is listed at once"
        raise _BrokenError("a key that was written is not listed")

    async def _stale_swap(self) -> str:
        key = self._key("stale")
        stale = await self._create(key, b"first")
        with suppress(EtagMismatchError):
            await self._store.swap(key, b"second", stale.etag)
        await self._require_bytes(key, b"second")
        with suppress(EtagMismatchError):
            await self._store.swap(key, b"third", stale.etag)
            raise _BrokenError("a swap of what was replaced succeeded: If-Match is ignored")
        await self._require_bytes(key, b"second")
        return "it was refused"

    async def _swap_of_nothing(self) -> str:
        key = self._key("nothing")
        gone = await self._create(key, b"first")
        await self._store.delete(key)
        with suppress(EtagMismatchError):
            await self._store.swap(key, b"second", gone.etag)
            raise _BrokenError("a swap of what was deleted succeeded: If-Match is ignored")
        await self._require_absent(key)
        return "it was refused"

    async def _upload_over_key(self) -> str:
        key = self._key("over")
        upload = await self._upload(key, b"second")
        await self._create(key, b"first")
        with suppress(KeyExistsError):
            await self._store.create_from_upload(*upload)
            raise _BrokenError("an upload was created over a key: If-None-Match is ignored")
        await self._require_bytes(key, b"first")
        return "it was refused"

    async def _aborted_upload(self) -> str:
        key = self._key("aborted")
        upload = await self._upload(key, b"aborted")
        await self._store.abort_upload(upload[0])
        await self._require_gone(upload)
        await self._require_absent(key)
        # The same once more where somebody else's bytes could be taken for our success.
        await self._create(key, b"first")
        await self._require_gone(upload)
        await self._require_bytes(key, b"first")
        return "it cannot be completed any more"

    async def _require_gone(self, upload: tuple[Upload, list[str]]) -> None:
        for complete in (self._store.create_from_upload, self._store.put_from_upload):
            try:
                await complete(*upload)
            except (UploadNotFoundError, KeyExistsError):
                continue  # where the key is another's, both are true
            except StoreUnavailableError as failure:
                # Where the store answers other calls, this failure is its answer.
                await self._require_absent(self._key("other"))
                raise _BrokenError(
                    "completing an upload that was aborted is answered with a failure:"
                    f" {failure.metadata.get('cause', failure)}"
                ) from None
            raise _BrokenError("an upload was completed after it was aborted")

    async def _damaged_object(self) -> str:
        """No promise: without it a push compares what the store tells of each part."""
        if await self._store.refuses_damage(self._key("damaged")):
            return "it was refused"
        return "not known to be refused: pushes compare what the store has taken"

    async def _create_race(self) -> str:
        for turn in range(_ROUNDS):
            key = self._key(f"create-{turn}")
            data = _entries("create", turn)
            await self._race(key, data, [self._store.create(key, own) for own in data])
        return _one_winner("creates")

    async def _swap_race(self) -> str:
        key = self._key("swap")
        info = await self._create(key, b"begin")
        for turn in range(_ROUNDS):
            data = _entries("swap", turn)
            swaps = [self._store.swap(key, own, info.etag) for own in data]
            info = await self._race(key, data, swaps)
        return _one_winner("swaps")

    async def _upload_race(self) -> str:
        for turn in range(_ROUNDS):
            key = self._key(f"upload-{turn}")
            data = _entries("upload", turn)
            uploads = await _all(*(self._upload(key, own) for own in data))
            await self._race(key, data, [self._store.create_from_upload(*one) for one in uploads])
        return _one_winner("uploads completed")

    async def _mixed_race(self) -> str:
        for turn in range(_ROUNDS):
            key = self._key(f"mixed-{turn}")
            data = _entries("mixed", turn)
            uploads = await _all(*(self._upload(key, own) for own in data[::2]))
            creates = [self._store.create(key, own) for own in data[1::2]]
            completed = [self._store.create_from_upload(*one) for one in uploads]
            await self._race(key, [*data[::2], *data[1::2]], [*completed, *creates])
        return _one_winner("uploads and creates")

    # What they share

    async def _create(self, key: str, data: bytes) -> ObjectInfo:
        """Create a key that is absent; a refusal is about our own try whose answer was lost."""
        with suppress(KeyExistsError):
            await self._store.create(key, data)
        return await self._require_bytes(key, data)

    async def _require_bytes(self, key: str, expected: bytes) -> ObjectInfo:
        info, found = await self._store.get(key, _ENTRY_BYTES)
        if found != expected:
            raise _BrokenError("a key holds other bytes than were written to it last")
        return info

    async def _race(
        self, key: str, data: Sequence[bytes], calls: Sequence[Awaitable[ObjectInfo]]
    ) -> ObjectInfo:
        """Make all calls at once, each with its own of `data`; return what stands there then."""
        results: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
        for result in results:
            if isinstance(result, AssetError):
                raise result
        won = [racer for racer, result in enumerate(results) if isinstance(result, ObjectInfo)]
        if len(won) > 1:
            raise _BrokenError(
                f"{len(won)} of {len(calls)} racers for one key won: the store looks"
                " first and writes later"
            )
        info, found = await self._store.get(key, _ENTRY_BYTES)
        holder = data.index(found) if found in data else None
        if holder is None or (won and won != [holder]):
            raise _BrokenError("the bytes of the racer that won were written over")
        for racer, result in enumerate(results):
            if racer != holder:
                _require_refused(result)
        if won and results[holder].etag != info.etag:
            raise _BrokenError("the ETag of a write is not that of a read")
        return info


async def _all(*calls: Awaitable[_T]) -> list[_T]:
    """Return what all calls return; where one fails, only after all others have ended."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def _require_refused(result: object) -> None:
    """Check that a racer lost because the key is another's, and for no other reason."""
    if isinstance(result, UploadNotFoundError):
        # Nobody has aborted it: so it was completed, and then written over.
        raise _BrokenError("the bytes of an upload that was completed were written over")
    if isinstance(result, BaseException) and not isinstance(
        result, KeyExistsError | EtagMismatchError
    ):
        raise result


def _entries(race: str, turn: int) -> list[bytes]:
    """Return what the racers write, each something else, also than those of other turns."""
    heads = (f"{race} {turn} {racer} ".encode() for racer in range(RACERS))
    return [head.ljust(_ENTRY_BYTES, b".") for head in heads]


def _one_winner(what: str) -> str:
    return f"one winner in each of {_ROUNDS} rounds of {RACERS} {what} at once"
