"""What stands in the store of one asset: claims, index, manifests, looked at for all who ask.

A push that takes the next number has to look at all of it (`layout.md`, "Push", step 1): pushes of
one asset that run at once share the looks. Each looks at the claims, then at the index: a claim
goes only once the index lists its version, so the two show every version, and a look costs no more
where there are thousands (decision 0008). All manifests are listed by the first look at an asset,
and again once in a while, to find what a blind writer dropped. Decides nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from assetd_server.assets.clock import Clock
from assetd_server.model import AssetKind, AssetName
from assetd_server.store.catalog import Catalog, Index
from assetd_server.store.claims import Claims, ClaimState, HeldClaim
from assetd_server.store.known_versions import KnownVersions
from assetd_server.store.shared_runs import SharedRuns
from assetd_server.versioning import Version

_LISTING_SECONDS = 60.0
# A listing of thousands takes seconds of a processor: it may take this share of the time.
_LISTING_SHARE = 0.02


@dataclass(frozen=True)
class Survey:
    """One look. `committed` gives each version's push; "" for modelkit's, and what is unreadable.

    The claims were read before the index and the manifests: a push that ends deletes its claim only
    once the index lists the version, so that one of the two shows it.
    """

    claims: Mapping[Version, HeldClaim]
    listed: frozenset[Version]
    committed: Mapping[Version, str]

    @cached_property
    def known(self) -> frozenset[Version]:
        """All versions there are, listed or not."""
        return self.listed | self.committed.keys()

    @cached_property
    def _made_by(self) -> Mapping[str, Version]:
        return {push_id: version for version, push_id in self.committed.items() if push_id}

    def committed_by(self, push_id: str) -> Version | None:
        """Return the version that this push has made, if it has."""
        return self._made_by.get(push_id)

    def claimed_by(self, push_id: str) -> dict[Version, HeldClaim]:
        """Return the claims of this push on versions that do not exist yet.

        A claim beside a manifest is litter, which a call that came late has left.
        """
        return {
            version: held
            for version, held in self.claims.items()
            if held.claim.push_id == push_id
            and held.claim.state is not ClaimState.RELEASED
            and version not in self.known
        }

    def claimed_by_others(self, push_id: str) -> set[Version]:
        """Return the numbers that other pushes are about to fill."""
        return {
            version
            for version, held in self.claims.items()
            if held.claim.push_id != push_id and held.claim.state is not ClaimState.RELEASED
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
        listed = index.versions if index else ()
        committed = {
            **await self._unlisted(name, index),
            **await self._versions.push_ids(name, listed),
        }
        return Survey(claims=claims, listed=frozenset(listed), committed=committed)

    def doubt(self, name: AssetName) -> None:
        """Have the next look list all manifests: the index lacks one, as it turned out."""
        self._listing_due.pop(name, None)

    async def _unlisted(self, name: AssetName, index: Index | None) -> Mapping[Version, str]:
        """Return what all manifests say, where it is time to look at all; else nothing."""
        began = self._clock.monotonic()
        if index is not None and began < self._listing_due.get(name, began):
            return {}
        found = await self._versions.look_everywhere(name)
        ended = self._clock.monotonic()
        wait_seconds = max(_LISTING_SECONDS, (ended - began) / _LISTING_SHARE)
        self._listing_due[name] = ended + wait_seconds
        return found

    async def close(self) -> None:
        """Return when no look is under way any more."""
        await self._looks.close()
