"""Answers from partial versions: what they hold of what is wanted. Never downloads, asks no store.

The receipt of a partial version has the manifest of the whole one, so globs mean the same here as
in the store. Blocking work runs in threads.
"""

from collections.abc import Iterable, Sequence

from assetd_server.assets.present import Answer, answer, contradicts, require_digest
from assetd_server.assets.selection import Selection, wanted_parts
from assetd_server.assets.threads import Threads
from assetd_server.cache.hashing import hash_parts
from assetd_server.cache.layout import AssetsDir, PartialPaths, VersionPaths
from assetd_server.cache.partial import PartialReceipt, PartialVersions
from assetd_server.errors import InvalidFieldError
from assetd_server.manifest import Part
from assetd_server.model import AssetName, Digest, PartPath, Source, Verification
from assetd_server.spec import Spec
from assetd_server.versioning import Version

_WEAKEST_FIRST = list(Verification)


class Partials:
    """Turns partial versions into answers."""

    def __init__(
        self, assets_dir: AssetsDir, versions: PartialVersions, quick: Threads, disk: Threads
    ) -> None:
        self._dir = assets_dir
        self._versions = versions
        self._quick = quick
        self._disk = disk
        # Parts that were hashed in this run and proved sound, for callers who pin a digest.
        self._hashed: dict[str, tuple[PartialReceipt, set[PartPath]]] = {}

    async def hit(
        self,
        spec: Spec,
        paths: VersionPaths,
        expected: Digest | None,
        selection: Selection,
        *,
        verify: bool,
    ) -> Answer | None:
        """Return the answer where all that is wanted is here; else None.

        None as well where `verify`, or an expected digest, makes us read the parts that are wanted
        and one is damaged: it has to be fetched again.

        Raises:
            DigestMismatchError: the whole version has another digest than `expected`.
            InvalidFieldError: `expected` cannot be compared, or globs on a file asset.
            PartNotFoundError: the version has nothing of what is wanted.
        """
        receipt = await self._quick.run(self._versions.look, paths)
        if receipt is None:
            return None
        wanted = wanted_parts(spec, receipt.manifest, selection)
        if not await self._covers(paths, receipt, wanted):
            return None
        require_comparable(spec, receipt.manifest.digest, expected)
        verification = weakest(receipt.present[part.path] for part in wanted)
        if verify or (expected is not None and verification is not Verification.DIGEST):
            if not await self._is_sound(PartialPaths.of(paths), receipt, wanted, fresh=verify):
                return None
            verification = Verification.DIGEST
        return answer(
            spec,
            PartialPaths.of(paths),
            receipt.receipt,
            Source.CACHE,
            verification,
            selection=selection,
        )

    async def covering(self, name: AssetName, selection: Selection) -> Sequence[Version]:
        """Return the versions of the asset of which all that is wanted is here."""
        return await self._quick.run(self._covering, name, selection)

    def _covering(self, name: AssetName, selection: Selection) -> Sequence[Version]:
        found = []
        for version in self._versions.versions(name):
            paths = VersionPaths(name, version)
            receipt = self._versions.look(paths)
            wanted = selection.chosen(receipt.manifest.parts) if receipt else ()
            if receipt and wanted:
                whole = self._versions.whole(paths, receipt, wanted)
                if len(whole) == len(wanted):
                    found.append(version)
        return found

    async def _covers(
        self, paths: VersionPaths, receipt: PartialReceipt, wanted: tuple[Part, ...]
    ) -> bool:
        whole = await self._quick.run(self._versions.whole, paths, receipt, wanted)
        return len(whole) == len(wanted)

    async def _is_sound(
        self,
        paths: PartialPaths,
        receipt: PartialReceipt,
        wanted: tuple[Part, ...],
        *,
        fresh: bool,
    ) -> bool:
        known, hashed = self._hashed.get(paths.data, (receipt, set[PartPath]()))
        if known != receipt:
            hashed = set()
        unread = tuple(part for part in wanted if fresh or part.path not in hashed)
        found = await self._disk.run(hash_parts, self._dir, paths.parts, unread)
        damaged = {
            before.path
            for before, now in zip(unread, found, strict=True)
            if contradicts(before, now)
        }
        sound = {part.path for part in unread} - damaged
        self._hashed[paths.data] = receipt, (hashed | sound) - damaged
        return not damaged


def weakest(verifications: Iterable[Verification]) -> Verification:
    """Return what all of the parts were at least compared with."""
    return min(verifications, key=_WEAKEST_FIRST.index)


def require_comparable(spec: Spec, found: Digest | None, expected: Digest | None) -> None:
    """Compare the digest of the whole version with the one that a caller of some parts pinned.

    Raises:
        DigestMismatchError: they differ.
        InvalidFieldError: the manifest has none (modelkit's), and some of the parts do not tell it.
    """
    if expected is not None and found is None:
        raise InvalidFieldError(
            "{spec} has no digest in its manifest, and some of its parts cannot be held against"
            " {expected}: fetch the whole version, or leave expected_digest out",
            field="expected_digest",
            spec=spec,
            expected=expected,
        )
    require_digest(spec, found, expected)
