"""Versions to put into an ASSETS_DIR, and what its readers find there."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from assetd_server.cache.ingest import StagedVersion, checksum_of
from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.receipt import Receipt
from assetd_server.manifest import Manifest, Part
from assetd_server.model import MARKER_NAME, AssetKind, AssetName, PartPath, Verification
from assetd_server.versioning import Version

# What a version holds: the bytes of a file, or those of each part of a directory by its path.
Content = bytes | Mapping[str, bytes]

PUSH_TIME = datetime(2026, 11, 1, 12, tzinfo=UTC)
FETCH_TIME = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
PATHS = VersionPaths(AssetName("some/asset"), Version.parse("0.1"))


def part_of(path: str, data: bytes) -> Part:
    """The part with size and checksums of its bytes."""
    return Part(
        PartPath(path) if path else PartPath.of_file(),
        len(data),
        hashlib.sha256(data).hexdigest(),
        checksum_of([data]),
    )


def kind_of(content: Content) -> AssetKind:
    """Whether it is a file or a directory."""
    return AssetKind.FILE if isinstance(content, bytes) else AssetKind.DIRECTORY


def by_path(content: Content) -> dict[str, bytes]:
    """The bytes of each part; a file's only part is the empty path."""
    return {"": content} if isinstance(content, bytes) else dict(content)


def manifest_of(content: Content) -> Manifest:
    """The manifest of a version that assetd pushed."""
    parts = [part_of(path, data) for path, data in by_path(content).items()]
    ordered = tuple(sorted(parts, key=lambda part: part.path.encode()))
    return Manifest(kind_of(content), PUSH_TIME, ordered)


def receipt_of(content: Content) -> Receipt:
    """The receipt of a version that came from a store."""
    return Receipt(manifest_of(content), "file:///store", FETCH_TIME, Verification.CHECKSUM)


def stage(
    assets_dir: AssetsDir, content: Content, paths: VersionPaths = PATHS, *, sealed: bool = True
) -> StagedVersion:
    """Stage a version; whatever goes wrong, nothing of it stays open or on the disk."""
    staged = StagedVersion(assets_dir, paths, kind_of(content))
    try:
        for path, data in by_path(content).items():
            part = staged.add_part(part_of(path, data))
            part.write(0, [data])
            staged.end_part(part)
        if sealed:
            staged.seal(receipt_of(content))
    except BaseException:
        staged.discard()
        raise
    return staged


def marker_path(root: Path, content: Content, paths: VersionPaths = PATHS) -> Path:
    """Where modelkit puts the marker."""
    return root / paths.marker(kind_of(content))


def put(
    root: Path,
    content: Content,
    paths: VersionPaths = PATHS,
    *,
    marker: bytes | None = None,
) -> None:
    """Put a version at its final path as somebody else would, with a marker of these bytes."""
    for path, data in by_path(content).items():
        target = root / paths.data / path if path else root / paths.data
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    if marker is not None:
        marker_path(root, content, paths).write_bytes(marker)


def put_ours(root: Path, content: Content, paths: VersionPaths = PATHS) -> None:
    """Put a version with our receipt at its final path."""
    put(root, content, paths, marker=receipt_of(content).encode())


def standing(root: Path, paths: VersionPaths = PATHS) -> Content | None:
    """What a reader by path finds, markers apart; modelkit without a store ignores those."""
    data = root / paths.data
    if data.is_dir():
        files = [path for path in data.rglob("*") if path.is_file()]
        found = {str(path.relative_to(data)): path.read_bytes() for path in files}
        found.pop(MARKER_NAME, None)
        return found
    return data.read_bytes() if data.exists() else None


def modelkit_serves(root: Path, paths: VersionPaths = PATHS) -> Content | None:
    """What modelkit with a store takes for complete: data with a marker beside it."""
    found = standing(root, paths)
    if found is None or not marker_path(root, found, paths).exists():
        return None
    return found


def left_overs(root: Path) -> list[str]:
    """What lies in staging, trash, and the spool and journal of pushes, and should not."""
    own = root / ".assetd"
    names = ("staging", "trash", "push", "push/.spool", "push/.journal")
    places = [own / name for name in names]
    below = [path for place in places for path in place.glob("*") if path not in places]
    return sorted(str(path.relative_to(own)) for path in below)
