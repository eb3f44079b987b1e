"""What is present and may be answered: a checked hit, or what stands there unchecked.

Looks and hashes, never downloads. Blocking work runs in threads.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from assetd_server.assets.selection import Selection, part_not_found, wanted_parts
from assetd_server.assets.threads import Threads
from assetd_server.cache.hashing import files_below, hash_parts
from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.lookup import Lookup, Standing
from assetd_server.cache.receipt import Receipt
from assetd_server.errors import DigestMismatchError
from assetd_server.manifest import Part, version_digest
from assetd_server.model import (
    AssetKind,
    AssetVersion,
    Digest,
    PartPath,
    Source,
    Verification,
)
from assetd_server.spec import Spec


@dataclass(frozen=True)
class Answer:
    """A version, or the parts of it that are wanted, ready to be answered.

    `paths` is where a lease on it is taken; None for what is no version. `wanted` is None where all
    of the version is.
    """

    relative_path: str
    asset_version: AssetVersion
    source: Source
    verification: Verification
    transferred_bytes: int = 0
    reused_bytes: int = 0
    paths: VersionPaths | None = None
    wanted: tuple[Part, ...] | None = None

    @property
    def total_bytes(self) -> int:
        """The size of what is wanted, as far as it is known."""
        if self.wanted is None:
            return self.asset_version.size_bytes or 0
        return _size_of(self.wanted)

    @property
    def total_files(self) -> int:
        """The number of files that are wanted, as far as it is known."""
        if self.wanted is None:
            return self.asset_version.file_count or 0
        return len(self.wanted)


class Present:
    """Turns what stands in ASSETS_DIR into answers."""

    def __init__(
        self, assets_dir: AssetsDir, lookup: Lookup, quick: Threads, disk: Threads
    ) -> None:
        self._dir = assets_dir
        self._lookup = lookup
        self._quick = quick
        self._disk = disk
        self._hashed: dict[str, Receipt] = {}

    async def hit(
        self,
        spec: Spec,
        paths: VersionPaths,
        expected: Digest | None,
        selection: Selection | None = None,
        *,
        verify: bool,
    ) -> Answer | None:
        """Return the answer where our receipt says that the version is whole; else None.

        None as well where `verify`, or an expected digest that nobody has checked yet, makes us
        read the files and they are damaged: it has to be fetched again.

        Raises:
            DigestMismatchError: the version has another digest than `expected`.
            PartNotFoundError, InvalidFieldError: the version has nothing of what is wanted.
        """
        receipt = await self._quick.run(self._lookup.hit, paths)
        if receipt is None:
            return None
        verification = receipt.verification
        if verify or expected is not None:
            parts = await self._hashes(paths, receipt, fresh=verify)
            if parts is None:
                return None
            require_digest(spec, version_digest(receipt.manifest.kind, parts), expected)
            verification = Verification.DIGEST
        return answer(spec, paths, receipt, Source.CACHE, verification, selection=selection)

    async def _hashes(
        self, paths: VersionPaths, receipt: Receipt, *, fresh: bool
    ) -> tuple[Part, ...] | None:
        """Return the parts with the hashes that their bytes have; None where they are damaged."""
        known = receipt.manifest.parts
        checked = receipt.verification is Verification.DIGEST or (
            self._hashed.get(paths.data) == receipt
        )
        if checked and not fresh and all(part.sha256_hex for part in known):
            return known
        found = await self._disk.run(hash_parts, self._dir, paths.data, known)
        if any(contradicts(before, now) for before, now in zip(known, found, strict=True)):
            return None
        self._hashed[paths.data] = receipt
        return found

    async def unverified(
        self,
        spec: Spec,
        paths: VersionPaths,
        expected: Digest | None,
        selection: Selection | None = None,
        *,
        unmarked: bool,
        verify: bool = False,
    ) -> Answer | None:
        """Return what stands there without our receipt, for when no store can be asked.

        Only what is marked as complete, by modelkit or by us; with `unmarked` (no store is
        configured) whatever data stands there, as modelkit does. None where there is none.

        Raises:
            DigestMismatchError: it has another digest than `expected`, or, with `verify`, than our
                receipt says.
            PartNotFoundError, InvalidFieldError: it has nothing of what is wanted.
        """
        standing = await self._quick.run(self._lookup.look, paths)
        # Where a store is configured, data that contradicts our receipt is damaged.
        whole = standing.complete and standing.receipt is None
        if standing.kind is None or not (whole or unmarked):
            return None
        verification, digest = Verification.NONE, None
        if verify and expected is None and standing.receipt is not None:
            expected = standing.receipt.manifest.digest
        if expected is not None:
            digest = await self._digest(paths, standing)
            require_digest(spec, digest, expected)
            verification = Verification.DIGEST
        await self._require_part(spec, paths)
        wanted = None
        if selection is not None:
            manifest = await self._disk.run(self._lookup.unmarked_manifest, paths)
            wanted = wanted_parts(spec, manifest, selection)
        return Answer(
            relative_path=_answered_path(spec, paths),
            asset_version=AssetVersion(paths.name, paths.version, standing.kind, digest=digest),
            source=Source.CACHE,
            verification=verification,
            reused_bytes=_size_of(wanted or ()),
            paths=paths,
            wanted=wanted,
        )

    async def plain_path(self, spec: Spec, selection: Selection | None = None) -> Answer:
        """Return a path below ASSETS_DIR that is no asset (no store only, as modelkit does).

        Raises:
            PartNotFoundError: nothing stands there.
            InvalidFieldError: globs choose among the parts of a version, and this is none.
        """
        if selection is not None:
            selection.require_no_globs(spec)
        path = str(spec.name) + (f"/{spec.part}" if spec.part else "")
        if not await self._quick.run(self._lookup.stands, path):
            raise part_not_found(spec)
        return Answer(
            relative_path=path,
            asset_version=AssetVersion(spec.name, None),
            source=Source.CACHE,
            verification=Verification.NONE,
        )

    async def _digest(self, paths: VersionPaths, standing: Standing) -> Digest:
        if standing.kind is AssetKind.FILE:
            files: tuple[Part, ...] = (Part(PartPath.of_file()),)
        else:
            files = await self._disk.run(files_below, self._dir, paths.data)
        hashed = await self._disk.run(hash_parts, self._dir, paths.data, files)
        return version_digest(standing.kind or AssetKind.FILE, hashed)

    async def _require_part(self, spec: Spec, paths: VersionPaths) -> None:
        if spec.part and not await self._quick.run(self._lookup.stands, paths.part(spec.part)):
            raise part_not_found(spec)


def answer(
    spec: Spec,
    paths: VersionPaths,
    receipt: Receipt,
    source: Source,
    verification: Verification,
    transferred_bytes: int = 0,
    reused_bytes: int | None = None,
    *,
    selection: Selection | None = None,
) -> Answer:
    """Return the answer for a version, or parts of it, that stand by their receipt.

    Without `reused_bytes` it is a hit: all that is wanted was here.

    Raises:
        PartNotFoundError, InvalidFieldError: the version has nothing of what is wanted.
    """
    manifest = receipt.manifest
    wanted = wanted_parts(spec, manifest, selection)
    if reused_bytes is None:
        reused_bytes = _size_of(manifest.parts if selection is None else wanted)
    return Answer(
        relative_path=_answered_path(spec, paths),
        asset_version=manifest.describe(paths.name, paths.version),
        source=source,
        verification=verification,
        transferred_bytes=transferred_bytes,
        reused_bytes=reused_bytes,
        paths=paths,
        wanted=None if selection is None else wanted,
    )


def require_digest(spec: Spec, found: Digest | None, expected: Digest | None) -> None:
    """Compare a digest with the one that the caller pinned; an unknown one passes.

    Raises:
        DigestMismatchError: they differ.
    """
    if expected is not None and found is not None and found != expected:
        raise DigestMismatchError(
            "{spec} has the digest {found}, and {expected} is expected: it is damaged, or not the"
            " content that was pinned",
            spec=spec,
            found=found,
            expected=expected,
        )


def contradicts(known: Part, found: Part) -> bool:
    """Tell whether the bytes that were found are not those that are known, as far as they are."""
    return known.sha256_hex not in (None, found.sha256_hex) or known.crc64nvme not in (
        None,
        found.crc64nvme,
    )


def _size_of(parts: Iterable[Part]) -> int:
    return sum(part.size_bytes or 0 for part in parts)


def _answered_path(spec: Spec, paths: VersionPaths) -> str:
    return paths.part(spec.part or PartPath.of_file())
