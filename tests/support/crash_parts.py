"""Crashes of partial versions: while one grows by some parts, and while it is evicted."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from assetd_server.cache.evict import Outcome
from assetd_server.cache.ingest import StagedVersion
from assetd_server.cache.layout import AssetsDir, PartialPaths
from assetd_server.cache.linux import FileSystem
from assetd_server.cache.partial import PartialVersions
from assetd_server.model import MARKER_NAME, PartPath, Verification

from tests.support.crash_judging import Operation, delete_evicted, left_over, opened
from tests.support.file_systems import FaultyFileSystem
from tests.support.flights import fill
from tests.support.versions import PATHS, Content, receipt_of, standing

_PLACE = PartialPaths.of(PATHS)


@dataclass(frozen=True)
class PartsOperation(Operation):
    """One whose result is some parts of a version, below `.assetd`: those that the receipt lists.

    `whole` is the version; nothing of it may be seen at its final path.
    """

    whole: dict[str, bytes] | None = None

    def standing(self, root: Path) -> Content | None:
        listed = self._listed(root)
        files = {path: root / _PLACE.part(path) for path in listed}
        return {path: file.read_bytes() for path, file in files.items() if file.exists()} or None

    def vouched(self, root: Path) -> Content | None:
        assert self.whole is not None
        return {path: self.whole[path] for path in self._listed(root)} or None

    def served(self, root: Path) -> Content | None:
        return self.standing(root)

    def misplaced(self, root: Path) -> list[str]:
        return [] if standing(root) is None else ["parts at the final path"]

    def left_over(self, root: Path) -> list[str]:
        # Parts leave staging one by one; what is left there then is small, and swept by age.
        staged = [path for path in (root / ".assetd/staging").glob("*/data/**/*") if path.is_file()]
        parts = [path for path in staged if path.name != MARKER_NAME]
        return left_over(root, "trash", "push") + [f"left over: {path}" for path in parts]

    def bring_back(self, assets_dir: AssetsDir) -> None:
        assert self.whole is not None
        assert isinstance(self.old, dict)
        grow(assets_dir, self.whole, self.old.keys())

    def _listed(self, root: Path) -> list[PartPath]:
        with opened(root, FileSystem()) as assets_dir:
            receipt = PartialVersions(assets_dir).look(PATHS)
        return sorted(receipt.present) if receipt else []


def grow(assets_dir: AssetsDir, whole: dict[str, bytes], wanted: Set[str]) -> None:
    """Do what a flight of some parts does: stage those that are missing, and move them in."""
    partial, receipt = PartialVersions(assets_dir), receipt_of(whole)
    parts = tuple(part for part in receipt.manifest.parts if part.path in wanted)
    known = partial.known(PATHS)
    present = partial.whole(PATHS, known, parts) if known else frozenset()
    missing = tuple(part for part in parts if part.path not in present)
    if not missing:
        return
    staged = StagedVersion(assets_dir, _PLACE, receipt.manifest.kind, missing)
    try:
        for _ in fill(staged, whole, missing):
            pass
        staged.seal(replace(receipt, manifest=replace(receipt.manifest, parts=missing)))
        partial.grow(staged, receipt, {part.path: Verification.CHECKSUM for part in missing})
    finally:
        staged.discard()


def _some(whole: dict[str, bytes], paths: Sequence[str]) -> dict[str, bytes] | None:
    return {path: whole[path] for path in sorted(paths)} or None


def growing(
    name: str, whole: dict[str, bytes], added: Sequence[str], before: Sequence[str] = ()
) -> Operation:
    """A fetch of some parts, where none or some are here."""

    def prepare(root: Path) -> None:
        with opened(root, FaultyFileSystem()) as assets_dir:
            grow(assets_dir, whole, {*before})

    return PartsOperation(
        name,
        lambda assets_dir: grow(assets_dir, whole, {*added}),
        new=_some(whole, [*before, *added]),
        old=_some(whole, before),
        prepare=prepare,
        whole=whole,
    )


def evicting_parts(name: str, whole: dict[str, bytes], paths: Sequence[str]) -> Operation:
    """An eviction of what is here of a version."""

    def prepare(root: Path) -> None:
        with opened(root, FaultyFileSystem()) as assets_dir:
            grow(assets_dir, whole, {*paths})

    def act(assets_dir: AssetsDir) -> None:
        assert PartialVersions(assets_dir).evict(PATHS).outcome is Outcome.EVICTED

    return PartsOperation(
        name,
        act,
        new=None,
        old=_some(whole, paths),
        prepare=prepare,
        clean_up=delete_evicted,
        whole=whole,
    )
