"""The choices of an operator that concern assets, as `app` hands them down."""

from dataclasses import dataclass, field

from assetd_server.cache.budget import Limits
from assetd_server.model import Freshness
from assetd_server.versioning import VersioningSystem


@dataclass(frozen=True)
class AssetsSettings:
    """The choices of an operator that concern assets; units in the names."""

    freshness: Freshness = Freshness.STORE
    store_timeout_seconds: float = 10.0
    lock_timeout_seconds: float = 60.0
    fetch_timeout_seconds: float = 6 * 3600.0
    versioning: VersioningSystem = VersioningSystem.MAJOR_MINOR
    force_download: bool = False
    connection_count: int = 32
    transfer_memory_bytes: int = 192 * 2**20
    range_bytes: int = 8 * 2**20
    limits: Limits = field(default_factory=Limits)
    writable: bool = True
    # Whether a lease keeps an eviction off: where it does not, nothing is evicted.
    leases_trusted: bool = True
    # An operator's word that no other daemon pushes to the store, which is then never tried.
    single_pusher: bool = False
    push_idle_timeout_seconds: float = 300.0
    push_resume_max_age_seconds: float = 60.0
    staging_max_age_seconds: float = 24 * 3600.0
    warnings: tuple[str, ...] = ()
