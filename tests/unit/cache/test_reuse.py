"""Parts that stand elsewhere: found by their digest, shared or copied, compared before use."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from assetd_server.cache.ingest import StagedVersion
from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.reuse import Copy, PartCopy, copy_small, find_in_versions
from assetd_server.errors import DiskFullError
from assetd_server.manifest import Part
from assetd_server.model import AssetKind
from assetd_server.versioning import Version

from tests.support.assets_bench import flip_byte
from tests.support.file_systems import FaultyFileSystem
from tests.support.versions import (
    PATHS,
    Content,
    left_overs,
    manifest_of,
    part_of,
    put,
    put_ours,
)

TREE = {"a": b"one" * 1000, "empty": b"", "sub/b": b"two" * 1000}
PARTS = list(manifest_of(TREE).parts)


def version(text: str) -> VersionPaths:
    """Another version of the same asset."""
    return VersionPaths(PATHS.name, Version.parse(text))


def found(assets_dir: AssetsDir, content: Content = TREE, paths: VersionPaths = PATHS) -> list[str]:
    """Where the parts of the version stand, in their order; "" where they do not."""
    parts = manifest_of(content).parts
    sources = find_in_versions(Lookup(assets_dir), paths, parts)
    return [sources.get(part.path, "") for part in parts]


# Where they stand


def test_equal_parts_are_found_by_their_digest(assets_dir: AssetsDir, root: Path) -> None:
    """Parts that another version of the asset has are copied instead of downloaded.

    Whatever they are called there; in a file asset's version too.
    """
    put_ours(root, {"other/name": TREE["a"], "sub/b": b"different"}, version("0.0"))
    put_ours(root, TREE["sub/b"], version("0.2"))
    assert found(assets_dir) == ["some/asset/0.0/other/name", "", "some/asset/0.2"]


def test_the_version_itself_comes_first(assets_dir: AssetsDir, root: Path) -> None:
    """What is left of it is what it needs; then the newest of the others."""
    for text in ("0.0", "0.10", "0.9"):
        put_ours(root, {"a": TREE["a"], "sub/b": TREE["sub/b"]}, version(text))
    assert found(assets_dir) == ["some/asset/0.10/a", "", "some/asset/0.10/sub/b"]
    put_ours(root, {"a": TREE["a"]})
    assert found(assets_dir) == ["some/asset/0.1/a", "", "some/asset/0.10/sub/b"]


def test_only_receipts_are_believed(assets_dir: AssetsDir, root: Path) -> None:
    """Not what modelkit marked, or nobody: nothing says which bytes those have."""
    put(root, TREE, version("0.0"))
    put(root, TREE, version("0.2"), marker=b"")
    assert found(assets_dir) == ["", "", ""]


def test_what_cannot_be_looked_at_is_passed_over(assets_dir: AssetsDir, root: Path) -> None:
    """A link where a version should stand, a version of the other system."""
    put_ours(root, TREE, version("0.0"))
    (root / "some/asset/0.9").symlink_to(root / "some/asset/0.0")
    (root / "some/asset/0.8").mkdir()
    (root / "some/asset/0.8/.SUCCESS").symlink_to(root / "some/asset/0.0/.SUCCESS")
    put_ours(root, TREE, version("2026-11-23T00-00-00Z"))
    assert found(assets_dir)[0] == "some/asset/0.0/a"


def test_parts_without_a_digest_are_not_looked_for(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem
) -> None:
    """Of modelkit's versions nobody knows what they are equal to."""
    put_ours(root, TREE, version("0.0"))
    parts = [Part(part.path, part.size_bytes) for part in PARTS]
    fs.calls.clear()
    assert find_in_versions(Lookup(assets_dir), PATHS, parts) == {}
    assert fs.calls == []


def test_a_long_history_is_not_read(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem
) -> None:
    """At most the receipts of the newest few, and none once all is found."""
    for minor in range(2, 50):
        put_ours(root, {"x": b"%d" % minor}, version(f"0.{minor}"))
    fs.calls.clear()
    assert found(assets_dir) == ["", "", ""]
    assert len(fs.named("pread")) == 8
    put_ours(root, TREE, version("0.50"))
    fs.calls.clear()
    assert "" not in found(assets_dir)
    assert len(fs.named("pread")) == 1


# The copies


class SharingFileSystem(FaultyFileSystem):
    """Can share bytes, so to speak: what a clone of it holds is right."""

    def clone(self, from_fd: int, to_fd: int) -> None:
        self._begin("clone", (*self._of(from_fd), *self._of(to_fd)))
        os.sendfile(to_fd, from_fd, 0, os.fstat(from_fd).st_size)


class PlainFileSystem(FaultyFileSystem):
    """Can neither share nor copy inside the kernel."""

    def clone(self, from_fd: int, to_fd: int) -> None:
        self._begin("clone", (*self._of(from_fd), *self._of(to_fd)))
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    def copy_range(self, from_fd: int, to_fd: int, *_range: int) -> int:
        self._begin("copy_range", (*self._of(from_fd), *self._of(to_fd)))
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


@pytest.fixture(params=[FaultyFileSystem, SharingFileSystem, PlainFileSystem])
def fs(request: pytest.FixtureRequest) -> FaultyFileSystem:
    """The file system of `assets_dir`: whatever this one is, and one of each kind."""
    kind: type[FaultyFileSystem] = request.param
    return kind()


def begin(assets_dir: AssetsDir) -> StagedVersion:
    """Stage the tree."""
    return StagedVersion(assets_dir, PATHS, AssetKind.DIRECTORY, PARTS)


def copies() -> list[Copy]:
    """Each part from its place in another version."""
    return [Copy(part, version("0.0").part(part.path)) for part in PARTS]


def test_what_is_copied_is_kept(assets_dir: AssetsDir, root: Path) -> None:
    """What is copied is compared, and is a file of its own: never a hard link.

    The bytes are right, proven and journalled; and the copy is a file of its own.
    """
    put_ours(root, TREE, version("0.0"))
    staged = begin(assets_dir)
    assert copy_small(assets_dir, staged, copies()) == 6000
    assert {path: kept.is_confirmed for path, kept in staged.kept.items()} == dict.fromkeys(
        TREE, True
    )
    for path, data in TREE.items():
        assert (root / staged.data / path).read_bytes() == data
        assert (root / staged.data / path).stat().st_nlink == 1
        assert (root / version("0.0").part(part_of(path, b"").path)).stat().st_nlink == 1
    staged.suspend()
    again = begin(assets_dir)
    assert set(again.kept) == set(TREE)
    again.discard()
    assert left_overs(root) == []


def test_a_shared_part_is_not_copied(root: Path) -> None:
    """Where the file system shares bytes, none is written."""
    put_ours(root, TREE, version("0.0"))
    fs = SharingFileSystem()
    assets_dir = AssetsDir(str(root), fs)
    staged = begin(assets_dir)
    fs.calls.clear()
    assert copy_small(assets_dir, staged, copies()[:1]) == 3000
    assert fs.named("copy_range") == []
    # The journal's.
    assert len(fs.named("pwritev")) == 1
    staged.discard()
    assets_dir.close()


def rotten(path: Path) -> None:
    """One byte is another."""
    flip_byte(path)


def shorter(path: Path) -> None:
    """The end is missing."""
    os.truncate(path, 10)


def gone(path: Path) -> None:
    """It was evicted, or deleted by hand."""
    path.unlink()


def linked(path: Path) -> None:
    """It leads elsewhere."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def folder(path: Path) -> None:
    """It is a folder."""
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("change", [rotten, shorter, gone, linked, folder])
def test_a_source_that_is_not_what_it_was_is_not_used(
    assets_dir: AssetsDir, root: Path, change: Callable[[Path], None]
) -> None:
    """Damage does not spread: what does not compare is downloaded.

    The others are copied.
    """
    put_ours(root, TREE, version("0.0"))
    change(root / "some/asset/0.0/a")
    staged = begin(assets_dir)
    assert copy_small(assets_dir, staged, copies()) == 3000
    assert set(staged.kept) == {"empty", "sub/b"}
    staged.add_part(PARTS[0])
    staged.suspend()
    again = begin(assets_dir)
    assert set(again.kept) == {"empty", "sub/b"}
    again.discard()


@pytest.mark.parametrize("call", ["pread", "fstat", "open", "clone"])
def test_a_source_that_cannot_be_read_is_not_used(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem, call: str
) -> None:
    """A bad sector under a cached version must not fail the fetch of another."""
    put_ours(root, TREE, version("0.0"))
    staged = begin(assets_dir)
    fs.fail(1, errno.EIO, call)
    assert copy_small(assets_dir, staged, copies()[:1]) == 0
    assert staged.kept == {}
    assert copy_small(assets_dir, staged, copies()[:1]) == 3000
    staged.discard()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["clone", "create"])
def test_a_full_disk_ends_it(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem, code: int, call: str
) -> None:
    """There is no room for the download either: all is given back."""
    put_ours(root, TREE, version("0.0"))
    staged = begin(assets_dir)
    fs.fail(1, code, call)
    with pytest.raises(DiskFullError):
        copy_small(assets_dir, staged, copies())
    staged.suspend()
    assert left_overs(root) == []


def test_a_large_part_is_copied_in_steps(assets_dir: AssetsDir, root: Path) -> None:
    """Whoever leaves meanwhile does not wait for gigabytes, and half a copy is never kept."""
    put_ours(root, TREE, version("0.0"))
    staged = begin(assets_dir)
    part_copy = PartCopy(assets_dir, staged, copies()[0], 1000)
    assert [part_copy.advance() for _ in range(3)] == [True, True, False]
    assert part_copy.end()
    half = PartCopy(assets_dir, staged, copies()[2], 1000)
    assert half.advance()
    (root / "some/asset/0.0/sub/b").unlink()
    assert not half.advance()
    assert not half.end()
    assert set(staged.kept) == {"a"}
    other = PartCopy(assets_dir, staged, Copy(PARTS[2], "some/asset/0.0/a"), 1000)
    assert other.advance()
    staged.suspend()
    again = begin(assets_dir)
    assert set(again.kept) == {"a"}
    again.discard()
