"""What operators ask of the cache, and what they are told: plain values, no wire and no I/O.

As `assets.orders`, for the methods of CacheService.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from assetd_server.assets.orders import CacheState
from assetd_server.model import AssetVersion, NamePrefix, PartPath
from assetd_server.spec import Spec


@dataclass(frozen=True)
class Selector:
    """Which cached versions are meant: one, those of a prefix, or, where both are None, all."""

    spec: Spec | None = None
    name_prefix: NamePrefix | None = None


@dataclass(frozen=True)
class EvictOrder:
    """Remove these from the cache; with `dry_run` only say what would happen."""

    selector: Selector
    dry_run: bool = False


class EvictOutcome(Enum):
    """What became of a version that an operator wants gone."""

    EVICTED = "evicted"
    LEASED = "leased"
    PINNED = "pinned"


@dataclass(frozen=True)
class EvictEntry:
    """One version, and the bytes that it gave back."""

    asset_version: AssetVersion
    outcome: EvictOutcome
    freed_bytes: int


@dataclass(frozen=True)
class Pinned:
    """A version whose pin was set or undone, and what the cache holds of it."""

    asset_version: AssetVersion
    cache_state: CacheState


@dataclass(frozen=True)
class VerifyOrder:
    """Hash these; with `repair` fetch again what is damaged."""

    selector: Selector
    repair: bool = False


@dataclass(frozen=True)
class VerifyProgress:
    """Absolute figures of a verification; `hashed_bytes` never falls."""

    hashed_bytes: int
    total_bytes: int


class VerifyOutcome(Enum):
    """What a version proved to be."""

    SOUND = "sound"
    DAMAGED = "damaged"
    REPAIRED = "repaired"
    UNVERIFIABLE = "unverifiable"


@dataclass(frozen=True)
class VerifyResult:
    """One version is done; `damaged_parts` were not as they should be."""

    asset_version: AssetVersion
    outcome: VerifyOutcome
    damaged_parts: Sequence[PartPath] = ()


@dataclass(frozen=True)
class VerifyCompleted:
    """All are done."""

    sound_count: int
    damaged_count: int


VerifyEvent = VerifyProgress | VerifyResult | VerifyCompleted
