"""What the helper itself hands out and takes: an asset that was fetched, a push's progress.

Everything else that a client answers with is a message of the contract, as `assetd.v1` has it.
Knows neither gRPC nor those messages: `assetd._convert` fills these from them.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self


class AssetKind(StrEnum):
    """Whether a version is one file or a directory of them."""

    UNSPECIFIED = auto()
    """A kind that this release does not know, or none was told."""
    FILE = auto()
    """One file; the version's path is its own."""
    DIRECTORY = auto()
    """A directory of files."""


class Freshness(StrEnum):
    """Who decides which version an unpinned spec (`name`, `name:1`) stands for."""

    STORE = auto()
    """The store; the call fails when it does not answer."""
    STORE_OR_CACHE = auto()
    """The store or, when it does not answer in time, the cache: `Resolution.FALLBACK`."""
    CACHE = auto()
    """The cache alone; the store is not asked."""


class Scope(StrEnum):
    """Where a listing looks."""

    ALL = auto()
    """In the store and in the cache, as far as they can be asked."""
    STORE = auto()
    """In the store alone; the call fails when it does not answer."""
    CACHE = auto()
    """In the cache alone; the store is not asked."""


class Resolution(StrEnum):
    """How the version that a spec stands for was found."""

    UNSPECIFIED = auto()
    """In a way that this release does not know."""
    EXACT = auto()
    """The spec names it in full."""
    STORE = auto()
    """It was the newest in the store, as of the call."""
    CACHE = auto()
    """It was the newest in the cache, and the store was not to be asked."""
    FALLBACK = auto()
    """It was the newest in the cache, and the store did not answer."""


class Source(StrEnum):
    """Where the bytes came from that were missing here."""

    UNSPECIFIED = auto()
    """From somewhere that this release does not know."""
    CACHE = auto()
    """None were missing: a hit."""
    STORE = auto()
    """The object store."""
    PEER = auto()
    """Another node's daemon."""


class Verification(StrEnum):
    """What the files were compared with before they were shown, weakest first."""

    UNSPECIFIED = auto()
    """With something that this release does not know."""
    NONE = auto()
    """Nothing: another program put them there, and there was nothing to compare with."""
    SIZE = auto()
    """Their sizes."""
    CHECKSUM = auto()
    """A checksum that finds damage, though not forgery."""
    DIGEST = auto()
    """Their SHA-256, and so the version's digest."""


class PushPhase(StrEnum):
    """What a push is doing, in this order."""

    HASHING = auto()
    """The source is read and hashed; nothing has been sent yet."""
    SENDING = auto()
    """Bytes that the store lacks go to the daemon; those that it has count as done."""
    STORING = auto()
    """The daemon writes them to the store. Sending and storing may go on at once."""
    COMMITTING = auto()
    """The stored bytes are checked, and the version is made visible."""


class Holding(Protocol):
    """What keeps a version from being evicted until it is closed."""

    def close(self) -> None:
        """End it; idempotent."""

    @property
    def is_held(self) -> bool:
        """Whether it still stands."""
        ...


@dataclass(frozen=True)
class PushProgress:
    """How far a push is. Within one phase, `done_bytes` never falls.

    `total_bytes` is None until the daemon has looked at what it is to find by itself.
    """

    phase: PushPhase
    done_bytes: int
    total_bytes: int | None


class PushedVersion(str):
    """The version that a push created, such as `1.3`, and what else is known of it.

    Attributes:
        name: the asset's name.
        digest: `sha256:...`, the version's identity; empty if it was not to be had.
        size_bytes: the sizes of all its files added up; None when not known.
        file_count: how many files it holds; None when not known.
        labels: what is kept with it: those of the push that created it.
        pushed_by: who the store says created it.
        already_existed: it was there before this push: somebody else had pushed the same. Nothing
            was changed. A repeat under one push_id gets the answer of the first try.
        push_id: under what name the push can be repeated.
    """

    name: str
    digest: str
    size_bytes: int | None
    file_count: int | None
    labels: Mapping[str, str]
    pushed_by: str
    already_existed: bool
    push_id: str

    def __new__(
        cls,
        version: str,
        *,
        name: str = "",
        digest: str = "",
        size_bytes: int | None = None,
        file_count: int | None = None,
        labels: Mapping[str, str] | None = None,
        pushed_by: str = "",
        already_existed: bool = False,
        push_id: str = "",
    ) -> Self:
        """Return the version's text, which knows the rest."""
        self = super().__new__(cls, version)
        self.name = name
        self.digest = digest
        self.size_bytes = size_bytes
        self.file_count = file_count
        self.labels = dict(labels or {})
        self.pushed_by = pushed_by
        self.already_existed = already_existed
        self.push_id = push_id
        return self


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A version that is present on this node: whole, verified, durable. Read it, never write to it.

    Path-like: `open(asset)`, `Path(asset, "config.json")` and whatever takes a path works. As a
    context manager it ends its hold, if it was fetched with one; without a hold the cache may
    evict the version when it needs the room, though not right after a fetch.

    Attributes:
        path: the absolute path of the version, or of the part that the spec names. As the daemon
            sees it, or where that is not visible here, below the client's `assets_dir`.
        relative_path: the same below ASSETS_DIR, for programs that mount ASSETS_DIR elsewhere.
        name: the asset's name.
        version: the version in full, such as `1.2`.
        kind: whether it is one file or a directory of them.
        digest: `sha256:...`, the version's identity; empty when not known, as when modelkit pushed
            it.
        size_bytes: the sizes of all its files added up; None when not known.
        file_count: how many files it holds; None when not known.
        resolution: how the version was found.
        source: where the missing bytes came from.
        verification: what the files were compared with.
        transferred_bytes: bytes that this fetch took from the source; 0 on a hit.
        joined: it shared the download of a caller who had come before.
        reused_bytes: bytes that were here already.
        elapsed_seconds: how long the daemon took; 0 without a call.
    """

    path: Path
    relative_path: str
    name: str
    version: str
    kind: AssetKind
    digest: str
    size_bytes: int | None
    file_count: int | None
    resolution: Resolution
    source: Source
    verification: Verification
    transferred_bytes: int
    joined: bool
    reused_bytes: int
    elapsed_seconds: float
    _hold: Holding | None = field(default=None, repr=False, compare=False)

    @property
    def is_held(self) -> bool:
        """Whether the cache must keep the version for us right now.

        Also true while a daemon that went away is waited for: its successor evicts nothing before
        the holders had time to come back.
        """
        return self._hold is not None and self._hold.is_held

    def close(self) -> None:
        """End the hold, if there is one; idempotent."""
        if self._hold is not None:
            self._hold.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return os.fspath(self.path)
