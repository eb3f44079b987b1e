"""What a flight does to ASSETS_DIR, call by call, without a store: the bytes are at hand.

The steps are those of `assets.landing`; whoever changes them there changes them here. Crashes are
tried on these, so that every point of a flight takes milliseconds.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Final

from assetd_server.cache.ingest import SmallPart, StagedVersion, write_range
from assetd_server.cache.kept import ranges_between
from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.publish import Publisher, try_modelkit_lock
from assetd_server.cache.reuse import Copy, copy_small, find_in_versions
from assetd_server.manifest import Part
from assetd_server.model import PartPath

from tests.support.versions import PATHS, Content, by_path, manifest_of, receipt_of

RANGE_BYTES: Final = 2000
_ETAG: Final = "etag-1"


def land(
    assets_dir: AssetsDir, content: Content, paths: VersionPaths = PATHS, *, replaces: bool = False
) -> None:
    """Make the version stand: it does, or is adopted, or staged and published."""
    lookup, receipt = Lookup(assets_dir), receipt_of(content)
    publisher = Publisher(assets_dir, lookup)
    if not replaces:
        if lookup.hit(paths) is not None:
            return
        if lookup.is_whole(paths, receipt.manifest.kind, receipt.manifest.parts):
            with modelkit_lock(assets_dir, paths):
                publisher.adopt(paths, receipt)
            return
    staged = _staged(assets_dir, content, paths)
    try:
        if not replaces:
            _reuse(assets_dir, lookup, staged, receipt.manifest.parts)
        for _ in fill(staged, content, receipt.manifest.parts):
            pass
        staged.seal(receipt)
        with modelkit_lock(assets_dir, paths):
            publisher.publish(staged, receipt)
    finally:
        staged.discard()


def interrupt(assets_dir: AssetsDir, content: Content, steps: int) -> None:
    """Download so much, then lose the store: what has come stays for the next flight."""
    staged = _staged(assets_dir, content, PATHS)
    for _ in islice(fill(staged, content, manifest_of(content).parts), steps):
        pass
    staged.suspend()


@contextmanager
def modelkit_lock(assets_dir: AssetsDir, paths: VersionPaths) -> Iterator[None]:
    """Hold modelkit's lock, which nobody else has."""
    lock = try_modelkit_lock(assets_dir, paths)
    assert lock is not None
    try:
        yield
    finally:
        lock.release()


def _staged(assets_dir: AssetsDir, content: Content, paths: VersionPaths) -> StagedVersion:
    manifest = manifest_of(content)
    return StagedVersion(assets_dir, paths, manifest.kind, manifest.parts)


def _reuse(
    assets_dir: AssetsDir, lookup: Lookup, staged: StagedVersion, parts: tuple[Part, ...]
) -> None:
    wanted = [part for part in parts if part.path not in staged.kept]
    found: Mapping[PartPath, str] = find_in_versions(lookup, staged.paths, wanted)
    copies = [Copy(part, found[part.path]) for part in wanted if part.path in found]
    copy_small(assets_dir, staged, copies)


def fill(staged: StagedVersion, content: Content, parts: Iterable[Part]) -> Iterator[None]:
    """Write what is missing of the parts, a range or a batch of small ones at each step."""
    contents, small = by_path(content), []
    for part in parts:
        data, kept = contents[part.path], staged.kept.get(part.path)
        if kept is None and len(data) <= RANGE_BYTES:
            small.append(SmallPart(part, [data], _ETAG))
            continue
        missing = (
            ranges_between(0, len(data), RANGE_BYTES) if kept is None else kept.missing(RANGE_BYTES)
        )
        if kept is not None and kept.is_whole:
            continue
        file = staged.add_part(part) if kept is None else staged.resume_part(kept)
        for start, length in missing:
            write_range(file, start, [data[start : start + length]], _ETAG)
            yield
        staged.end_part(file)
    middle = len(small) // 2
    for batch in (small[:middle], small[middle:]):
        staged.write_small(batch)
        yield
