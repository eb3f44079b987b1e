"""What stands in the store of one asset: claims, index, manifests, looked at for all who ask.

A push that takes the next number has to look at all of it (`layout.md`, "Push", step 1): pushes of
one asset that run at once share the looks. Each looks at the claims, then at the index: a claim
goes only once the index lists its version, so the two show every version, and a look costs no more
where there are thousands (decision 0008). All manifests are listed by the first look at an asset,
and again once in a while, to find what a blind writer dropped. Decides nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from assetd_server.assets.clock import Clock
from assetd_server.model import AssetKind, AssetName
from assetd_server.store.catalog import Catalog
from assetd_server.store.claims import Claims, ClaimState, HeldClaim
from assetd_server.store.index_text import Index
from assetd_server.store.known_versions import KnownVersions
from assetd_server.store.shared_runs import SharedRuns
from assetd_server.versioning import NO_VERSIONS, Version, Versions

_LISTING_SECONDS = 60.0
# A listing of thousands takes seconds of a processor: it may take this share of the time.
_LISTING_SHARE = 0.02


@dataclass(frozen=True)
class Survey:
    """One look. `by_push` gives the version that a push has made, and may tell of later ones.

    The claims were read before the index and the manifests: a push that ends deletes its claim only
    once the index lists the version, so that one of the two shows it.
    """

    claims: Mapping[Version, HeldClaim]
    listed: Versions
    unlisted: Collection[Version]
    by_push: Mapping[str, Version]

    @cached_property
    def known(self) -> Versions:
        """All versions there are, listed or not.

        Raises:
            MixedVersioningError: they are of two systems.
        """
        return self.listed.joined_by(self.unlisted)

    @property
    def is_begun(self) -> bool:
        """Whether the asset has a version, listed or not."""
        return bool(self.listed or self.unlisted)

    def has(self, version: Version) -> bool:
        """Tell whether a version is there, listed or not."""
        return version in self.listed or version in self.unlisted

    def committed_by(self, push_id: str) -> Version | None:
        """Return the version that this push has made, if it has."""
        version = self.by_push.get(push_id)
        return version if version is not None and self.has(version) else None

    def claimed_by(self, push_id: str) -> dict[Version, HeldClaim]:
        """Return the claims of this push on versions that do not exist yet.

        A claim beside a manifest is litter, which a call that came late has left.
        """
        return {
            version: held
            for version, held in self.claims.items()
            if held.claim.push_id == push_id
            and held.claim.state is not ClaimState.RELEASED
            and not self.has(version)
        }

    def claimed_by_others(self, push_id: str) -> set[Version]:
        """Return the numbers that other pushes are about to fill."""
        return {
            version
            for version, held in self.claims.items()
            if held.claim.push_id != push_id and held.claim.state is not ClaimState.RELEASED
        }

    def committing_by_others(self, push_id: str) -> set[Version]:
        """Return the numbers that other pushes are committing: they are there, or soon will be."""
        return {
            version
            for version in self.claimed_by_others(push_id)
            if self.claims[version].claim.state is ClaimState.COMMITTING
        }

    def is_given_up(self, version: Version, *, not_by: AssetKind) -> bool:
        """Tell whether a push of another kind than that was given up, and may have left parts."""
        held = self.claims.get(version)
        if held is None or held.claim.state is not ClaimState.RELEASED:
            return False
        return held.claim.kind is not not_by


class Surveys:
    """Looks at assets; who asks while one is under way shares the next."""

    def __init__(
        self, catalog: Catalog, claims: Claims, versions: KnownVersions, clock: Clock
    ) -> None:
        self._catalog = catalog
        self._claims = claims
        self._versions = versions
        self._clock = clock
        self._listing_due: dict[AssetName, float] = {}
        self._looks = SharedRuns(self._look)

    async def of(self, name: AssetName) -> Survey:
        """Return what stands there now, not what stood there before the question.

        Raises:
            BadIndexError, BadManifestError, MixedVersioningError: index or claims cannot be
                believed.
            StoreUnavailableError, StoreAccessDeniedError.
        """
        return await self._looks.ask(name)

    async def _look(self, name: AssetName) -> Survey:
        claims = await self._claims.of_asset(name)
        index = await self._catalog.index(name)
        listed = index.versions if index else NO_VERSIONS
        found = await self._found(name, index)
        by_push = await self._versions.by_push(name, listed)
        unlisted = found.difference(listed) if found else found
        return Survey(claims, listed, unlisted, by_push)

    def doubt(self, name: AssetName) -> None:
        """Have the next look list all manifests: the index lacks one, as it turned out."""
        self._listing_due.pop(name, None)

    async def _found(self, name: AssetName, index: Index | None) -> frozenset[Version]:
        """Return the versions of all manifests, where it is time to look at all; else none."""
        began = self._clock.monotonic()
        if index is not None and began < self._listing_due.get(name, began):
            return frozenset()
        found = await self._versions.look_everywhere(name)
        ended = self._clock.monotonic()
        wait_seconds = max(_LISTING_SECONDS, (ended - began) / _LISTING_SHARE)
        self._listing_due[name] = ended + wait_seconds
        return frozenset(found)

    async def close(self) -> None:
        """Return when no look is under way any more."""
        await self._looks.close()
