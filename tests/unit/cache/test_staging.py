"""The folder of interrupted downloads: what a start keeps, and what the sweep deletes by age."""

import errno
import os
from pathlib import Path

import pytest
from assetd_server.cache.ingest import SmallPart, StagedVersion
from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.recover import recover
from assetd_server.cache.staging import StagingSweep, bytes_kept, path_of
from assetd_server.errors import IoError
from assetd_server.model import AssetKind, AssetName
from assetd_server.versioning import Version

from tests.support.file_systems import FaultyFileSystem
from tests.support.staging import kept_downloads
from tests.support.versions import PATHS, left_overs, part_of, put_ours, receipt_of

HOUR = 3600.0
MAX_AGE = 24 * HOUR
NOW = 1_800_000_000.0
OTHER = VersionPaths(AssetName("other/asset"), Version.parse("1.0"))
PART = part_of("a", b"content")


def begin(assets_dir: AssetsDir, paths: VersionPaths = PATHS) -> StagedVersion:
    """A download under way, with a part that has come."""
    staged = StagedVersion(assets_dir, paths, AssetKind.DIRECTORY, [PART])
    if not staged.kept:
        staged.write_small([SmallPart(PART, [b"content"], "etag")])
    return staged


def interrupted(
    assets_dir: AssetsDir, paths: VersionPaths = PATHS, written_at: float = NOW
) -> Path:
    """A download that was left at that time."""
    begin(assets_dir, paths).suspend()
    folder = Path(assets_dir.absolute(f".assetd/staging/{paths.key}"))
    os.utime(folder / "journal", (written_at, written_at))
    return folder


@pytest.fixture
def sweep(assets_dir: AssetsDir) -> StagingSweep:
    """The sweep of one run."""
    return StagingSweep(assets_dir, MAX_AGE)


def test_a_start_keeps_what_can_be_gone_on_with(assets_dir: AssetsDir, root: Path) -> None:
    """A start keeps interrupted downloads, whatever their age.

    Whatever its age: that is for the sweep.
    """
    folder = interrupted(assets_dir, written_at=0)
    assert recover(assets_dir).writable
    assert left_overs(root) == kept_downloads(root) == [f"staging/{folder.name}"]
    staged = begin(assets_dir)
    assert staged.kept_bytes == len(b"content")
    staged.discard()


@pytest.mark.parametrize("missing", ["journal", "data/a"])
def test_a_start_deletes_what_is_worth_nothing(
    assets_dir: AssetsDir, root: Path, missing: str
) -> None:
    """Without its journal or its data, a file, a link: nobody can go on from it."""
    folder = interrupted(assets_dir)
    (folder / missing).unlink()
    if missing == "data/a":
        (folder / "data").rmdir()
    put_ours(root, b"content", OTHER)
    (folder.parent / "file").touch()
    (folder.parent / "link").symlink_to(root / "other")
    assert recover(assets_dir).writable
    assert left_overs(root) == []
    assert (root / OTHER.data).read_bytes() == b"content"


def test_a_sealed_version_has_a_size(assets_dir: AssetsDir) -> None:
    """Its marker is no part; whatever lies there takes up room, and fails nobody's fetch."""
    assert bytes_kept(assets_dir, path_of(PATHS.key)) == 0
    staged = begin(assets_dir)
    staged.seal(receipt_of({"a": b"content"}))
    staged.suspend()
    folder = Path(assets_dir.absolute(staged.folder))
    assert (folder / "data/.SUCCESS").is_file()
    (folder / "data/no\npart").write_bytes(b"x" * 5000)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert (
        bytes_kept(assets_dir, path_of(PATHS.key)) == sum(f.stat().st_blocks for f in files) * 512
    )
    staged.discard()


def test_it_is_swept_when_nobody_went_on(
    assets_dir: AssetsDir, root: Path, sweep: StagingSweep
) -> None:
    """A download with which nobody goes on is deleted after `ASSETD_STAGING_MAX_AGE`.

    Later than the age that is set, and not before; each by its own age.
    """
    interrupted(assets_dir, written_at=NOW - 10 * HOUR)
    interrupted(assets_dir, OTHER, written_at=NOW - 30 * HOUR)
    sweep.sweep(NOW, 0.0)
    assert left_overs(root) == [f"staging/{PATHS.key}"]
    sweep.sweep(NOW + 14 * HOUR, 14 * HOUR)
    assert left_overs(root) == [f"staging/{PATHS.key}"]
    sweep.sweep(NOW + 14 * HOUR + 1, 14 * HOUR + 1)
    assert left_overs(root) == []


@pytest.mark.parametrize("jump", [-10 * 365 * 24 * HOUR, 10 * 365 * 24 * HOUR])
def test_a_clock_that_jumps_sweeps_nothing(
    assets_dir: AssetsDir, root: Path, sweep: StagingSweep, jump: float
) -> None:
    """Once seen, a download ages by our own seconds, whatever the wall clock says."""
    interrupted(assets_dir, written_at=NOW - HOUR)
    sweep.sweep(NOW, 0.0)
    sweep.sweep(NOW + jump, 1.0)
    sweep.sweep(NOW, 22 * HOUR)
    assert left_overs(root) != []
    sweep.sweep(NOW + jump, 24 * HOUR)
    assert left_overs(root) == []


def test_one_from_the_future_is_young_and_does_not_stay_for_ever(
    assets_dir: AssetsDir, root: Path, sweep: StagingSweep
) -> None:
    """It counts as written when it was first seen."""
    interrupted(assets_dir, written_at=NOW + 1000 * HOUR)
    sweep.sweep(NOW, 0.0)
    sweep.sweep(NOW, MAX_AGE)
    assert left_overs(root) != []
    sweep.sweep(NOW, MAX_AGE + 1)
    assert left_overs(root) == []


def test_who_goes_on_makes_it_young_again(
    assets_dir: AssetsDir, root: Path, sweep: StagingSweep
) -> None:
    """Its age counts from the last flight that wrote."""
    interrupted(assets_dir, written_at=NOW - 23 * HOUR)
    sweep.sweep(NOW, 0.0)
    interrupted(assets_dir, written_at=NOW + HOUR)
    sweep.sweep(NOW + 2 * HOUR, 2 * HOUR)
    sweep.sweep(NOW + 25 * HOUR, 25 * HOUR)
    assert left_overs(root) != []
    sweep.sweep(NOW + 27 * HOUR, 27 * HOUR)
    assert left_overs(root) == []


def test_what_a_flight_works_in_is_never_swept(
    assets_dir: AssetsDir, root: Path, sweep: StagingSweep
) -> None:
    """What a flight works in is never swept, however old it is.

    However old: a line may be slow. Afterwards it may go.
    """
    staged = begin(assets_dir)
    sweep.sweep(NOW, 0.0)
    sweep.sweep(NOW, 10 * MAX_AGE)
    assert (root / staged.data / "a").read_bytes() == b"content"
    staged.close()
    sweep.sweep(NOW, 11 * MAX_AGE)
    assert (root / staged.data / "a").exists()
    staged.suspend()
    sweep.sweep(NOW, 12 * MAX_AGE)
    assert left_overs(root) == []


def test_a_flight_that_could_not_begin_uses_nothing(
    assets_dir: AssetsDir, fs: FaultyFileSystem, root: Path, sweep: StagingSweep
) -> None:
    """Its failure must not keep what lies there for ever."""
    fs.fail(1, errno.EIO, "mkdir")
    with pytest.raises(IoError):
        begin(assets_dir)
    interrupted(assets_dir, written_at=NOW - 30 * HOUR)
    sweep.sweep(NOW, 0.0)
    assert left_overs(root) == []


def test_a_folder_without_a_journal_is_swept_by_its_own_age(
    root: Path, sweep: StagingSweep
) -> None:
    """As somebody may leave one there by hand."""
    folder = root / ".assetd/staging/stray"
    folder.mkdir(parents=True)
    os.utime(folder, (NOW - 25 * HOUR, NOW - 25 * HOUR))
    sweep.sweep(NOW, 0.0)
    assert left_overs(root) == []


def test_a_sweep_without_staging_is_done(root: Path, sweep: StagingSweep) -> None:
    """The folder may be gone: `.assetd` may be deleted by hand."""
    sweep.sweep(NOW, 0.0)
    assert list(root.iterdir()) == []


def test_a_sweep_that_fails_is_told_and_repeated(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem, sweep: StagingSweep
) -> None:
    """What could not be deleted is due again."""
    interrupted(assets_dir, written_at=NOW - 25 * HOUR)
    fs.fail(1, errno.EIO, "rename")
    with pytest.raises(IoError):
        sweep.sweep(NOW, 0.0)
    assert left_overs(root) == [f"staging/{PATHS.key}"]
    sweep.sweep(NOW, 1.0)
    assert left_overs(root) == []
