"""The start of a run: what a dead one left is made durable or deleted, and nothing else."""

import errno
from pathlib import Path

import pytest
from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.recover import recover
from assetd_server.errors import IoError

from tests.support.file_systems import FaultyFileSystem, Stopped
from tests.support.versions import PATHS, left_overs, modelkit_serves, put_ours, stage


def test_a_fresh_folder_is_made_ready(assets_dir: AssetsDir, root: Path) -> None:
    """Ready twice is ready."""
    for _ in range(2):
        assert recover(assets_dir).writable
        assert sorted(path.name for path in (root / ".assetd").iterdir()) == [
            "push",
            "staging",
            "trash",
        ]


def test_what_a_dead_run_left_is_deleted_after_a_sync(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem
) -> None:
    """A rename into the trash may not be durable yet: nothing is deleted before the sync."""
    put_ours(root, b"content")
    stage(assets_dir, {"a": b"1", "sub/b": b"2"}, sealed=False).close()
    (root / ".assetd/trash/old/sub").mkdir(parents=True)
    (root / ".assetd/trash/old/sub/a").touch()
    (root / ".assetd/push/.spool/half").mkdir(parents=True)
    fs.calls.clear()
    assert recover(assets_dir).writable
    assert left_overs(root) == []
    assert modelkit_serves(root) == b"content"
    changes = [call.name for call in fs.named("syncfs", "unlink", "rmdir")]
    assert changes[0] == "syncfs"
    assert "unlink" in changes


def test_folders_of_partial_versions_that_are_gone_go_too(
    assets_dir: AssetsDir, root: Path
) -> None:
    """What holds a version, or anything else, stays."""
    partial = root / ".assetd/partial"
    for path in ("gone/a/deeper", "kept/a/0.1/parts", "kept/b", "own/.hidden"):
        (partial / path).mkdir(parents=True)
    (partial / "kept/file").touch()
    (partial / "link").symlink_to(root)
    assert recover(assets_dir).writable
    assert sorted(str(path.relative_to(partial)) for path in partial.rglob("*")) == [
        "kept",
        "kept/a",
        "kept/a/0.1",
        "kept/a/0.1/parts",
        "kept/file",
        "link",
        "own",
        "own/.hidden",
    ]


@pytest.mark.parametrize("call", ["syncfs", "mkdir"])
@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_read_only_folder_serves_hits(
    assets_dir: AssetsDir, fs: FaultyFileSystem, call: str, code: int
) -> None:
    """It cannot be written, which is said and is no failure."""
    fs.fail(1, code, call)
    assert not recover(assets_dir).writable


def test_a_full_disk_serves_hits(assets_dir: AssetsDir, fs: FaultyFileSystem) -> None:
    """There is no room for our own folders, which is no reason not to start."""
    fs.fail(1, errno.ENOSPC, "mkdir")
    assert recover(assets_dir).writable


def test_a_broken_disk_is_no_read_only_folder(assets_dir: AssetsDir, fs: FaultyFileSystem) -> None:
    """EIO at the start is told, not taken for a mount option."""
    fs.fail(1, errno.EIO, "syncfs")
    with pytest.raises(IoError):
        recover(assets_dir)


def dies_at(number: int, root: Path) -> bool:
    """Start, and die right before that call; False where the start was over before it."""
    fs = FaultyFileSystem()
    assets_dir = AssetsDir(str(root), fs)
    fs.stop(number)
    try:
        recover(assets_dir)
    except Stopped:
        return True
    fs.heal()
    assets_dir.close()
    return False


def test_a_start_that_is_killed_at_any_call_is_finished_by_the_next(scratch: Path) -> None:
    """At whatever call a start is killed, the next one finishes what it had begun.

    However often the start dies, the one that lives leaves an empty staging and trash.
    """
    number, finished = 0, False
    while not finished:
        number += 1
        root = scratch / str(number)
        put_ours(root, b"content")
        (root / ".assetd/trash/old/sub").mkdir(parents=True)
        (root / ".assetd/trash/old/sub/a").touch()
        (root / ".assetd/staging" / PATHS.key).mkdir(parents=True)
        finished = not dies_at(number, root)
        fs = FaultyFileSystem()
        assets_dir = AssetsDir(str(root), fs)
        assert recover(assets_dir).writable
        assert left_overs(root) == []
        assert modelkit_serves(root) == b"content"
        assets_dir.close()
        assert fs.open_paths == []
    assert number > 10
