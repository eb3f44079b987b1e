"""What stands in the store of one asset: claims, index, manifests, looked at for all who ask.

A push that takes the next number has to look at all of it (`layout.md`, "Push", step 1): pushes of
one asset that run at once share the looks. Decides nothing.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from assetd_server.model import AssetName
from assetd_server.store.catalog import Catalog
from assetd_server.store.claims import Claims, ClaimState, HeldClaim
from assetd_server.store.shared_runs import SharedRuns
from assetd_server.versioning import Version


@dataclass(frozen=True)
class Survey:
    """One look. `committed` gives each version's push; "" for modelkit's, and what is unreadable.

    The claims were read before the manifests: a push that ends deletes its claim only once its
    manifest stands, so that one of the two shows it. `listed` is empty where nobody asked for it.
    """

    claims: Mapping[Version, HeldClaim]
    listed: Set[Version]
    committed: Mapping[Version, str]

    @property
    def known(self) -> set[Version]:
        """All versions there are, listed or not."""
        return {*self.listed, *self.committed}

    def committed_by(self, push_id: str) -> Version | None:
        """Return the version that this push has made, if it has."""
        made = (version for version, by in self.committed.items() if by == push_id)
        return next(made, None)

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


class Surveys:
    """Looks at assets; who asks while one is under way shares the next."""

    def __init__(self, catalog: Catalog, claims: Claims) -> None:
        self._catalog = catalog
        self._claims = claims
        self._looks = SharedRuns(self._look)

    async def of(self, name: AssetName, *, with_index: bool = True) -> Survey:
        """Return what stands there now, not what stood there before the question.

        Raises:
            BadIndexError, BadManifestError, MixedVersioningError: index or claims cannot be
                believed.
            StoreUnavailableError, StoreAccessDeniedError.
        """
        return await self._looks.ask((name, with_index))

    async def _look(self, question: tuple[AssetName, bool]) -> Survey:
        name, with_index = question
        claims = await self._claims.of_asset(name)
        # That there is none is believed only after a second look, some time later.
        index = await self._catalog.index(name) if with_index else None
        return Survey(
            claims=claims,
            listed=frozenset(index.versions if index else ()),
            committed=await self._catalog.push_ids(name),
        )

    async def close(self) -> None:
        """Return when no look is under way any more."""
        await self._looks.close()
