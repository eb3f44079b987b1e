"""Partial versions: some parts of a version, below `.assetd/partial`, each whole and durable.

A partial version only grows. Its receipt holds the manifest of the whole version and says which
parts are here and how each was checked, so that what is wanted of it can be told without the store.
A part counts once the receipt lists it: what a kill leaves beside is ignored, until it is deleted.
No marker is ever written here, and nothing at a final path. Knows no store. All methods block.
"""

import fcntl
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from assetd_server.cache.evict import Evicted, Outcome
from assetd_server.cache.ingest import StagedVersion, write_new
from assetd_server.cache.layout import (
    PARTIAL,
    PARTIAL_RECEIPT,
    TRASH,
    AssetsDir,
    PartialPaths,
    VersionPaths,
    os_errors,
)
from assetd_server.cache.leases import exclusive, same_inode, try_lock
from assetd_server.cache.linux import rename_new
from assetd_server.cache.lookup import has_size, names_in, versions_in
from assetd_server.cache.receipt import (
    FORMAT,
    MAX_RECEIPT_BYTES,
    Marker,
    Receipt,
    decode_document,
    encode_document,
    receipt_in,
)
from assetd_server.cache.reuse import candidates, find_equal
from assetd_server.cache.unlisted import delete_below
from assetd_server.errors import AssetError, AssetInUseError, ReadOnlyError, UnsafePathError
from assetd_server.manifest import Manifest, Part
from assetd_server.model import AssetKind, AssetName, PartPath, Verification
from assetd_server.versioning import Version

_RECEIPTS_KEPT = 64


@dataclass(frozen=True)
class PartialReceipt:
    """The whole version's receipt, and which of its parts are here, compared with what."""

    receipt: Receipt
    present: Mapping[PartPath, Verification]

    @property
    def manifest(self) -> Manifest:
        """The manifest of the whole version."""
        return self.receipt.manifest

    @cached_property
    def disk_bytes(self) -> int:
        """The bytes of the parts that are here."""
        here = (part for part in self.manifest.parts if part.path in self.present)
        return sum(part.size_bytes or 0 for part in here)

    def encode(self) -> bytes:
        """Return the receipt's content."""
        present = {path: how.value for path, how in self.present.items()}
        # What a walk of the whole cache has to know stands first, as in every receipt.
        head = {"format": FORMAT, "present_size": self.disk_bytes}
        return encode_document({**head, **self.receipt.document(), "present": present})

    def is_of(self, manifest: Manifest) -> bool:
        """Tell whether this is about the same content; what is unknown on one side passes."""
        return self.manifest.kind is manifest.kind and _agree(self.manifest.parts, manifest.parts)


def decode_partial(raw: bytes | None) -> tuple[Marker, PartialReceipt | None]:
    """Return what the receipt of a partial version means; None = there is none.

    Whatever cannot be read counts as foreign: no part is here.
    """
    return decode_document(raw, _partial_receipt_in)


def _partial_receipt_in(document: dict[str, Any]) -> PartialReceipt:
    receipt = receipt_in(document)
    known = {part.path for part in receipt.manifest.parts}
    present = {PartPath(path): Verification(how) for path, how in document["present"].items()}
    if receipt.manifest.kind is not AssetKind.DIRECTORY or not present.keys() <= known:
        raise ValueError("some of the parts of a directory")
    return PartialReceipt(receipt, present)


class PartialVersions:
    """The partial versions of one ASSETS_DIR."""

    def __init__(self, assets_dir: AssetsDir) -> None:
        self._dir = assets_dir
        self._fs = assets_dir.fs
        self._settled: set[str] = set()
        # Where nothing has been added to since all that lies there was seen to count.
        self._tidied: set[str] = set()
        self._decoded = lru_cache(_RECEIPTS_KEPT)(self._read)

    def look(self, paths: VersionPaths) -> PartialReceipt | None:
        """Return what the receipt says of the version's parts, sizes unchecked; None = no parts.

        Raises:
            UnsafePathError: a link stands in the way.
        """
        with os_errors(PartialPaths.of(paths).receipt):
            return self._receipt(PartialPaths.of(paths))[1]

    def _receipt(self, paths: PartialPaths) -> tuple[Marker, PartialReceipt | None]:
        facts = self._dir.stat(paths.receipt)
        if facts is None:
            return Marker.ABSENT, None
        # It is only ever replaced as a whole, by another inode.
        return self._decoded(paths.receipt, facts.st_ino, facts.st_mtime_ns, facts.st_size)

    def _read(self, path: str, *_stamp: int) -> tuple[Marker, PartialReceipt | None]:
        return decode_partial(self._dir.read_small(path, MAX_RECEIPT_BYTES))

    def whole(
        self, paths: VersionPaths, receipt: PartialReceipt, parts: tuple[Part, ...]
    ) -> frozenset[PartPath]:
        """Return which of `parts` are listed and stand with their size, durable.

        Somebody may have deleted among them by hand. The first answer in a run syncs the receipt:
        the one who wrote it may have died, or failed, between its rename and its sync.
        """
        place = PartialPaths.of(paths)
        with os_errors(place.data):
            found = frozenset(
                part.path
                for part in parts
                if part.path in receipt.present
                and has_size(self._dir, place.part(part.path), part.size_bytes)
            )
            if found and place.data not in self._settled:
                self._settle(place)
                self._settled.add(place.data)
            return found

    def _settle(self, paths: PartialPaths) -> None:
        # On a read-only mount nothing can be pending of ours, and fsync may be refused.
        with suppress(ReadOnlyError), os_errors(paths.data):
            self._dir.fsync(paths.receipt)
            self._dir.fsync(paths.data)

    def names(self, prefix: str = "") -> list[AssetName]:
        """Return the names of all assets with partial versions, in bytewise order."""
        with os_errors(PARTIAL):
            return sorted(name for name in names_in(self._dir, PARTIAL) if name.startswith(prefix))

    def versions(self, name: AssetName) -> list[Version]:
        """Return the versions of the asset of which some parts are here, in no order."""
        with os_errors(PARTIAL):
            found = versions_in(self._dir, f"{PARTIAL}/{name}")
        return [version for version in found if self.look(VersionPaths(name, version))]

    def untidied(self) -> list[PartialPaths]:
        """Return where something may lie that counts for nothing, with a receipt or without one."""
        with os_errors(PARTIAL):
            every = [
                PartialPaths(name, version)
                for name in names_in(self._dir, PARTIAL)
                for version in versions_in(self._dir, f"{PARTIAL}/{name}")
            ]
        return [paths for paths in every if paths.data not in self._tidied]

    def tidy(self, paths: PartialPaths) -> bool:
        """Delete what the receipt does not list, or all where none can be read.

        That is what a growth has left that was killed, or failed. The caller has the version
        exclusively. What is leased stays, for a later call, and so does what a later release wrote.
        A kill in mid-way leaves less of what counts for nothing. Returns whether anything stands.

        Raises:
            UnsafePathError, ReadOnlyError, IoError: some of it stays.
        """
        with suppress(AssetInUseError), os_errors(paths.data), exclusive(self._dir, paths):
            marker, receipt = self._receipt(paths)
            if receipt is not None:
                listed = receipt.present
                delete_below(self._dir, paths.parts, lambda path: path not in listed)
            elif marker is not Marker.NEWER:
                self._dir.remove_tree(paths.data)
                return False
            self._tidied.add(paths.data)
        return True

    def grow(
        self,
        staged: StagedVersion,
        receipt: Receipt,
        added: Mapping[PartPath, Verification],
        equal: Collection[PartPath] = (),
    ) -> PartialReceipt:
        """Move the parts `added` of a sealed version into the partial version, and list them.

        Those that are `equal` to what stands there stay in staging; `receipt` is that of the whole
        version. Returns what is here now, when it survives a power cut. Nothing is written in
        place, and a part that is listed is replaced only where nobody holds a lease.
        Two growths of one version exclude each other by the caller's doing.

        Raises:
            AssetInUseError: a part that is listed would have to be replaced, and is leased.
            UnsafePathError: a link stands in the way, or a later release of assetd wrote the
                receipt.
            DiskFullError, IoError: not acknowledged; what the receipt does not list is deleted.
        """
        paths = PartialPaths.of(staged.paths)
        moved = [path for path in added if path not in equal]
        staged.close()
        self._settled.discard(paths.data)
        self._tidied.discard(paths.data)
        with os_errors(paths.data):
            replaces = self._replaces(paths, moved)
            with (
                self._locked(paths, fcntl.LOCK_EX if replaces else fcntl.LOCK_SH),
                self._taken_back_on_failure(paths, moved),
            ):
                for folder in self._move(staged, paths, moved):
                    self._dir.fsync(folder)
                grown = _grown(self.known(paths), receipt, added)
                self._write_receipt(paths, staged.folder, grown)
            self._dir.remove_tree(staged.folder)
            return grown

    def known(self, paths: VersionPaths) -> PartialReceipt | None:
        """As `look`, for whoever is about to add to the version.

        Raises:
            UnsafePathError: a later release of assetd wrote the receipt, or a link stands there.
        """
        place = PartialPaths.of(paths)
        with os_errors(place.receipt):
            marker, receipt = self._receipt(place)
        if marker is Marker.NEWER:
            raise UnsafePathError(
                "{path} was written by a later release of assetd, and is left alone: remove its"
                " folder by hand, or run that release",
                path=place.receipt,
            )
        return receipt

    def _replaces(self, paths: PartialPaths, moved: Iterable[PartPath]) -> bool:
        known = self.known(paths)
        listed = [path for path in moved if known and path in known.present]
        return any(self._dir.stat(paths.part(path)) is not None for path in listed)

    @contextmanager
    def _locked(self, paths: PartialPaths, operation: int) -> Iterator[None]:
        """Keep the folder in its place for the block's length; with LOCK_EX, leases away too."""
        while True:
            with self._dir.durable_folder(paths.data) as fd:
                if operation == fcntl.LOCK_SH:
                    # Waits for nothing but a rename: who moves the folder away never waits itself.
                    self._fs.flock(fd, operation)
                elif not try_lock(self._dir, fd, operation):
                    raise AssetInUseError(
                        "parts of {name}:{version} are in use and have to be replaced: end the"
                        " holds on it (see `assetd status`) and fetch it again",
                        name=paths.name,
                        version=paths.version,
                    )
                if same_inode(self._dir, fd, paths.data):
                    yield
                    return

    @contextmanager
    def _taken_back_on_failure(
        self, paths: PartialPaths, moved: Collection[PartPath]
    ) -> Iterator[None]:
        """Delete of what the block has moved in what the receipt does not list, should it fail."""
        try:
            yield
        except (AssetError, OSError):
            # What cannot be deleted either is left to `tidy`.
            with suppress(AssetError, OSError):
                self._take_back(paths, moved)
            raise

    def _take_back(self, paths: PartialPaths, moved: Collection[PartPath]) -> None:
        _, receipt = self._receipt(paths)
        # Nothing else: others may hold what stood here before. These have never been told of.
        unlisted = set(moved) - (receipt.present.keys() if receipt else set())
        delete_below(self._dir, paths.parts, lambda path: path in unlisted)
        # With what else lies there they stay.
        with self._dir.folder(paths.data) as fd:
            self._fs.rmdir(fd, paths.parts.rpartition("/")[2])
        with self._dir.folder(paths.folder) as fd:
            self._fs.rmdir(fd, paths.leaf)

    def _move(
        self, staged: StagedVersion, paths: PartialPaths, moved: Iterable[PartPath]
    ) -> list[str]:
        """Rename the parts into their places; return the folders that this has changed."""
        changed = {paths.data, paths.parts}
        by_folder: dict[str, list[str]] = {}
        for path in moved:
            folder, _, leaf = path.rpartition("/")
            by_folder.setdefault(folder, []).append(leaf)
        for folder, leaves in by_folder.items():
            to = f"{paths.parts}/{folder}" if folder else paths.parts
            origin = f"{staged.data}/{folder}" if folder else staged.data
            with self._dir.folder(origin) as source, self._dir.ensured_folder(to) as target:
                for leaf in leaves:
                    self._fs.rename(source, leaf, target, leaf)
            while to != paths.parts:
                changed.add(to)
                to = to.rpartition("/")[0]
        return sorted(changed, key=len, reverse=True)

    def _write_receipt(self, paths: PartialPaths, aside: str, receipt: PartialReceipt) -> None:
        write_new(self._dir, f"{aside}/{PARTIAL_RECEIPT}", receipt.encode())
        with self._dir.folder(aside) as source, self._dir.folder(paths.data) as target:
            self._fs.rename(source, PARTIAL_RECEIPT, target, PARTIAL_RECEIPT)
            self._fs.fsync(target)

    def evict(
        self,
        paths: VersionPaths,
        is_wanted: Callable[[PartialReceipt | None], bool] = lambda _receipt: True,
    ) -> Evicted:
        """Move the partial version into the trash, if nobody holds a lease on it.

        One rename takes it away as a whole, and it stays gone after a power cut. The caller has it
        exclusively; `is_wanted` has the last word on what stands there.

        Raises:
            UnsafePathError, ReadOnlyError, IoError: it stays, or lies in the trash.
        """
        place = PartialPaths.of(paths)
        aside = f"{place.key}.{uuid.uuid4().hex}"
        with os_errors(place.data):
            try:
                with self._dir.folder(place.folder) as folder, exclusive(self._dir, place):
                    marker, receipt = self._receipt(place)
                    if marker is Marker.NEWER or not is_wanted(receipt):
                        return Evicted(Outcome.KEPT)
                    self._move_away(folder, place.leaf, aside)
            except AssetInUseError:
                return Evicted(Outcome.LEASED)
            except FileNotFoundError:
                return Evicted(Outcome.KEPT)
            return Evicted(Outcome.EVICTED, f"{TRASH}/{aside}")

    def _move_away(self, folder: int, leaf: str, aside: str) -> None:
        with self._dir.ensured_folder(TRASH) as trash:
            rename_new(self._fs, folder, leaf, trash, aside)
            self._fs.fsync(folder)
            self._fs.fsync(trash)


def find_in_parts(
    partial: PartialVersions, paths: VersionPaths, parts: Sequence[Part]
) -> dict[PartPath, str]:
    """Return where parts equal to these stand: in partial versions of this asset, this one first.

    By the receipts of the newest few: whoever copies from there compares what it copied.
    """
    versions = candidates(paths.version, lambda: partial.versions(paths.name))
    places = (PartialPaths(paths.name, version) for version in versions)
    return find_equal(parts, ((place, _listed_parts(partial, place)) for place in places))


def _listed_parts(partial: PartialVersions, paths: PartialPaths) -> list[Part]:
    receipt = partial.look(paths)
    if receipt is None:
        return []
    return [part for part in receipt.manifest.parts if part.path in receipt.present]


def _grown(
    known: PartialReceipt | None, receipt: Receipt, added: Mapping[PartPath, Verification]
) -> PartialReceipt:
    """Return what is here now; of another content nothing that was known counts any more."""
    if known is None or not known.is_of(receipt.manifest):
        return PartialReceipt(receipt, added)
    parts = tuple(
        before if now.sha256_hex is None else now
        for before, now in zip(known.manifest.parts, receipt.manifest.parts, strict=True)
    )
    learnt = replace(receipt, manifest=replace(receipt.manifest, parts=parts))
    return PartialReceipt(learnt, {**known.present, **added})


def _agree(some: tuple[Part, ...], others: tuple[Part, ...]) -> bool:
    return len(some) == len(others) and all(
        (one.path, one.size_bytes) == (other.path, other.size_bytes)
        and (None in (one.sha256_hex, other.sha256_hex) or one.sha256_hex == other.sha256_hex)
        for one, other in zip(some, others, strict=True)
    )
