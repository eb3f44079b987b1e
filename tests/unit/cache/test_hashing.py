"""Reading what stands in ASSETS_DIR, to hash it."""

import errno
import hashlib
from pathlib import Path

import pytest
from assetd_server.cache.hashing import files_below, hash_parts
from assetd_server.cache.layout import AssetsDir
from assetd_server.errors import InvalidPartError, IoError, UnsafePathError
from assetd_server.manifest import Part
from assetd_server.model import PartPath

from tests.support.file_systems import FaultyFileSystem
from tests.support.versions import PATHS, Content, manifest_of, put

TREE = {"a": b"one", "sub/b": b"", ".hidden": b"x", "a.b": b"dot", "a0": b"zero"}


@pytest.mark.parametrize("content", [b"content", b"", TREE], ids=["file", "empty", "directory"])
def test_every_part_gets_what_its_bytes_say(
    assets_dir: AssetsDir, root: Path, content: Content
) -> None:
    """Size, SHA-256 and crc64nvme, as a push of the same bytes would have had them."""
    put(root, content)
    known = manifest_of(content).parts
    unknown = tuple(Part(part.path) for part in known)
    assert hash_parts(assets_dir, PATHS.data, unknown) == known


def test_a_file_longer_than_one_read(assets_dir: AssetsDir, root: Path) -> None:
    """The pieces that it is read in do not show in its hashes."""
    data = b"0123456789abcdef" * (9 * 2**20 // 16) + b"end"
    put(root, data)
    (found,) = hash_parts(assets_dir, PATHS.data, (Part(PartPath.of_file()),))
    assert (found.size_bytes, found.sha256_hex) == (len(data), hashlib.sha256(data).hexdigest())
    assert found == manifest_of(data).parts[0]


def test_a_part_that_is_none_cannot_be_hashed(assets_dir: AssetsDir, root: Path) -> None:
    """Absent, a folder, or below a file: the path is named."""
    put(root, TREE)
    for path in ("absent", "sub", "a/below"):
        with pytest.raises(UnsafePathError, match=path):
            hash_parts(assets_dir, PATHS.data, (Part(PartPath(path)),))


def test_a_bad_sector_is_an_io_error(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem
) -> None:
    """Never a hash of what could be read."""
    put(root, TREE)
    fs.fail(2, errno.EIO, "pread")
    with pytest.raises(IoError):
        hash_parts(assets_dir, PATHS.data, manifest_of(TREE).parts)


def test_the_files_of_a_directory_in_bytewise_order(assets_dir: AssetsDir, root: Path) -> None:
    """Hidden files are parts, modelkit's marker is none, empty folders do not count."""
    put(root, TREE, marker=b"")
    (root / PATHS.data / "empty").mkdir()
    found = files_below(assets_dir, PATHS.data)
    assert [part.path for part in found] == [".hidden", "a", "a.b", "a0", "sub/b"]
    assert {part.size_bytes for part in found} == {None}


def test_a_name_that_no_part_may_have_is_refused(assets_dir: AssetsDir, root: Path) -> None:
    """A file inside a directory that cannot be told to a caller is not left out silently."""
    put(root, {**TREE, "sub/line\nbreak": b""})
    with pytest.raises(InvalidPartError):
        files_below(assets_dir, PATHS.data)
