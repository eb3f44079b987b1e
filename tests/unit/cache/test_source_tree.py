"""A file or folder to push: what of it is listed, hashed and read, and what is refused unopened."""

import errno
import hashlib
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from assetd_server.cache import linux
from assetd_server.cache.hashing import RunningHashes
from assetd_server.cache.linux import FileSystem
from assetd_server.cache.source_faults import MAX_FILES, SourceFaults, printable
from assetd_server.cache.source_tree import READ_BYTES, SourceFile, SourceTree, check_same
from assetd_server.errors import (
    AssetError,
    InvalidFieldError,
    InvalidPartError,
    IoError,
    SourceChangedError,
    SourceNotAllowedError,
    TooManyRequestsError,
    UnsupportedFileError,
)
from assetd_server.manifest import Part, version_digest
from assetd_server.model import AssetKind

from tests.support import swapper
from tests.support.file_systems import RecordingFileSystem
from tests.support.processes import running
from tests.support.small_disk import SmallDisks, small_disks
from tests.support.strange_files import STRANGE

__all__ = ["small_disks"]

SECRET = b"what nobody may read"
RACES = 3000


class ReachingFileSystem(RecordingFileSystem):
    """Remembers what every open has reached, whatever it was called; `by_steps` without openat2."""

    def __init__(self, *, by_steps: bool = False) -> None:
        super().__init__()
        self.reached: set[str] = set()
        self._by_steps = by_steps

    def open_inside(self, dir_fd: int, path: str, flags: int) -> int:
        fd = self._open(dir_fd, path, flags)
        # What is gone by now ends in " (deleted)", and is as far inside as its folder.
        self.reached.add(str(Path(f"/proc/self/fd/{fd}").readlink()))
        return fd

    def _open(self, dir_fd: int, path: str, flags: int) -> int:
        if not self._by_steps:
            return super().open_inside(dir_fd, path, flags)
        flags |= os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        fd = linux._open_by_steps(dir_fd, path, flags, 0, one_device=True)  # noqa: SLF001
        return self._opened(self._at(dir_fd, path), fd)


@pytest.fixture(params=["openat2", "by-steps"])
def fs(request: pytest.FixtureRequest) -> ReachingFileSystem:
    """The calls that are made, with openat2 and without it."""
    return ReachingFileSystem(by_steps=request.param == "by-steps")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of three files, one of which has a name that sorts differently as text."""
    root = tmp_path / "push" / "model"
    (root / "1_Pooling").mkdir(parents=True)
    (root / "1_Pooling/config.json").write_text("{}")
    (root / ".gitattributes").write_text("")
    (root / "weights").write_bytes(b"w" * (2 * READ_BYTES + 1))
    return root


@pytest.fixture
def tree(fs: ReachingFileSystem, folder: Path) -> Iterator[SourceTree]:
    """The same, beneath the folder that it lies in."""
    tree = open_tree(fs, folder)
    yield tree
    tree.close()


def open_tree(fs: FileSystem, path: Path, top: str | None = None) -> SourceTree:
    """What stands at the path, beneath the folder above; or `top` beneath the path."""
    above, top = (path.parent, path.name) if top is None else (path, top)
    faults = SourceFaults(path.name, "header.staged_path")
    return SourceTree(fs, fs.open_root(str(above)), top, faults)


def files_of(tree: SourceTree) -> list[SourceFile]:
    """All files, in order."""
    files = [file for some in tree.list(tree.find()) for file in some]
    return sorted(files, key=lambda file: file.path.encode())


def parts_of(tree: SourceTree) -> list[Part]:
    """All files, hashed."""
    return list(tree.hash_all(files_of(tree)))


def check_unchanged(tree: SourceTree, before: list[SourceFile]) -> None:
    """What whoever pushes does before the commit."""
    check_same(before, files_of(tree), tree.faults)


# What is taken


def test_a_folder_is_all_its_files(tree: SourceTree) -> None:
    """Dotfiles are files, and folders are in their paths."""
    assert tree.find() is AssetKind.DIRECTORY
    files = files_of(tree)
    assert [file.path for file in files] == [".gitattributes", "1_Pooling/config.json", "weights"]
    assert sum(file.size_bytes for file in files) == 2 * READ_BYTES + 3


def test_the_open_folder_itself_may_be_what_is_pushed(fs: ReachingFileSystem, folder: Path) -> None:
    """As an operator may allow the very folder that is named."""
    tree = open_tree(fs, folder, top="")
    assert parts_of(tree)[0].path == ".gitattributes"
    tree.close()


def test_a_file_is_one_part_without_a_path(fs: ReachingFileSystem, folder: Path) -> None:
    """As a manifest names the only part of a file asset."""
    tree = open_tree(fs, folder / "weights")
    assert tree.find() is AssetKind.FILE
    (part,) = parts_of(tree)
    assert (part.path, part.size_bytes) == ("", 2 * READ_BYTES + 1)
    assert part.sha256_hex == hashlib.sha256((folder / "weights").read_bytes()).hexdigest()
    tree.close()


def test_anyone_can_compute_the_digest_of_a_folder(tree: SourceTree, folder: Path) -> None:
    """It is that of what `sha256sum` prints for the files in bytewise order."""
    (folder / "a-b").mkdir()
    for name in ("a-b/c", "a", "a.b", "Z", "ä"):
        (folder / name).write_text(name)
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    listing = subprocess.run(
        ["sha256sum", *sorted(names, key=str.encode)], cwd=folder, capture_output=True, check=True
    ).stdout
    digest = version_digest(AssetKind.DIRECTORY, parts_of(tree))
    assert digest.hex == hashlib.sha256(listing).hexdigest()


def test_a_file_is_hashed_a_stretch_at_a_time(tree: SourceTree) -> None:
    """Whoever waits for a long one may leave between two stretches."""
    weights, hashes, told = files_of(tree)[2], RunningHashes(), []
    while hashes.size_bytes < weights.size_bytes:
        told.append(tree.hash_on(weights, hashes, READ_BYTES + 5))
    assert told == [READ_BYTES + 5, READ_BYTES - 4]
    assert hashes.part(weights.path) == parts_of(tree)[2]


@pytest.mark.parametrize(
    ("offset", "length", "count"),
    [(0, 5, 5), (READ_BYTES, 1 << 30, READ_BYTES + 1), (2 * READ_BYTES, 1, 1), (1 << 30, 9, 0)],
)
def test_a_range_is_cut_at_the_end(tree: SourceTree, offset: int, length: int, count: int) -> None:
    """Whoever reads in pieces need not know how long the last one is."""
    assert tree.read(files_of(tree)[2], offset, length) == b"w" * count


class ShortReads(FileSystem):
    """Reads at most seven bytes a call."""

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        return super().pread(fd, min(length, 7), offset)


def test_a_read_that_brings_less_is_continued(folder: Path) -> None:
    """As a file system of its own mind may make it."""
    data = bytes(range(200))
    (folder / "weights").write_bytes(data)
    tree = open_tree(ShortReads(), folder / "weights")
    (file,) = files_of(tree)
    assert tree.read(file, 3, 150) == data[3:153]
    assert parts_of(tree)[0].sha256_hex == hashlib.sha256(data).hexdigest()
    tree.close()


def test_bytes_are_all_that_is_taken(tree: SourceTree, folder: Path) -> None:
    """Of a setuid file, or one with attributes of its own, no more than of any other."""
    before = parts_of(tree)
    (folder / "weights").chmod(0o6755)
    with suppress(OSError):  # not every file system keeps attributes
        os.setxattr(folder / "weights", "user.note", b"not pushed")
    assert parts_of(tree) == before


# What is refused


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("inside", [True, False], ids=["inside", "itself"])
def test_what_is_no_plain_file_is_refused_unopened(
    fs: ReachingFileSystem, folder: Path, kind: str, inside: bool
) -> None:
    """A link, device, FIFO, socket or hard link in a pushed folder is refused, and not opened.

    To open the FIFO would hang here, if it were opened as any file is.
    """
    make, told = STRANGE[kind]
    strange = folder / "1_Pooling" / "strange"
    make(strange)
    tree = open_tree(fs, folder if inside else strange)
    with pytest.raises(UnsupportedFileError) as raised:
        files_of(tree)
    path = "model/1_Pooling/strange" if inside else "strange"
    assert raised.value.metadata == {"path": path, "kind": told}
    assert f"{path} is {told}: a push takes plain files" in str(raised.value)
    assert not any("strange" in path or "passwd" in path for path in fs.reached)
    tree.close()


def test_a_link_on_the_way_is_refused(fs: ReachingFileSystem, folder: Path) -> None:
    """Also where it leads to a folder of the same tree."""
    (folder / "link").symlink_to("1_Pooling", target_is_directory=True)
    tree = open_tree(fs, folder, top="link/config.json")
    with pytest.raises(UnsupportedFileError, match="is a symlink"):
        tree.find()
    tree.close()


@pytest.mark.parametrize("how", ["other", "same", "file"])
def test_what_is_mounted_in_the_tree_is_refused(
    small_disks: SmallDisks, tmp_path: Path, how: str
) -> None:
    """Another file system, a folder of the same one, a file: none is what the pusher put there."""
    folder = tmp_path / "push/model"
    at = folder / "sub"
    at.mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(SECRET)
    if how == "other":
        small_disks.mount(at=at, size="1m")
        (at / "secret").write_bytes(SECRET)
    elif how == "same":
        small_disks.bind(tmp_path / "outside", at)
    else:
        (at / "secret").touch()
        small_disks.bind(tmp_path / "outside/secret", at / "secret")
    fs = ReachingFileSystem()
    tree = open_tree(fs, folder)
    with pytest.raises(UnsupportedFileError, match="is a mount point") as raised:
        parts_of(tree)
    assert raised.value.metadata["path"] == ("model/sub/secret" if how == "file" else "model/sub")
    assert not any("secret" in path for path in fs.reached)
    tree.close()


def test_without_openat2_another_file_system_is_refused_too(
    small_disks: SmallDisks, folder: Path
) -> None:
    """By its device; two mounts of one file system are not told apart there."""
    small_disks.mount(at=folder / "1_Pooling", size="1m")
    (folder / "1_Pooling/secret").write_bytes(SECRET)
    tree = open_tree(ReachingFileSystem(by_steps=True), folder)
    with pytest.raises(UnsupportedFileError, match="model/1_Pooling is a mount point"):
        parts_of(tree)
    tree.close()


@pytest.mark.parametrize("name", ["", "empty", "1_Pooling/empty"])
def test_an_empty_folder_is_refused(
    fs: ReachingFileSystem, folder: Path, tmp_path: Path, name: str
) -> None:
    """The store keeps files: it would silently be missing in the version."""
    root = folder if name else tmp_path / "nothing"
    (root / name).mkdir()
    tree = open_tree(fs, root)
    with pytest.raises(InvalidPartError, match="it is an empty folder") as raised:
        files_of(tree)
    assert raised.value.metadata["path"] == f"{root.name}/{name}".rstrip("/")
    tree.close()


BAD_NAMES = [
    (b"caf\xe9", "caf\\xe9", "it is not UTF-8"),
    (b"new\nline", "new\\nline", "control characters"),
    (b"bell\x07", "bell\\x07", "control characters"),
    (b"back\\slash", "back\\slash", "control characters"),
    (b".SUCCESS", ".SUCCESS", "marks a complete version"),
]


@pytest.mark.parametrize(
    ("name", "shown", "why"), BAD_NAMES, ids=[shown for _, shown, _ in BAD_NAMES]
)
@pytest.mark.parametrize("is_folder", [False, True], ids=["file", "folder"])
def test_a_name_that_no_part_may_have_is_refused(
    tree: SourceTree, folder: Path, name: bytes, shown: str, why: str, is_folder: bool
) -> None:
    """Said on one line, with the field that named the source; never left out."""
    path = os.fsencode(folder / "1_Pooling") + b"/" + name
    os.mkdir(path) if is_folder else Path(os.fsdecode(path)).write_text("")  # noqa: PTH102 - bytes
    with pytest.raises(InvalidPartError, match=why) as raised:
        files_of(tree)
    assert raised.value.metadata["path"] == f"model/1_Pooling/{shown}"
    assert raised.value.metadata["field"] == "header.staged_path"
    assert str(raised.value).isprintable()


def test_a_path_that_no_key_can_hold_is_refused(tree: SourceTree, folder: Path) -> None:
    """Which also bounds the depth of what is walked."""
    deep = folder
    for _ in range(11):
        deep /= "d" * 100
    deep.mkdir(parents=True)
    with pytest.raises(InvalidPartError, match="at most 1024 bytes"):
        files_of(tree)


class Crowded(FileSystem):
    """A folder with as many names as are asked for."""

    def first_names(self, fd: int, count: int) -> list[str]:  # noqa: ARG002
        return [str(number) for number in range(count)]


def test_more_files_than_a_version_can_have_are_refused(folder: Path) -> None:
    """Before they are looked at, one by one, or fill the memory."""
    tree = open_tree(Crowded(), folder)
    with pytest.raises(InvalidFieldError, match="model has more than 200000 files") as raised:
        files_of(tree)
    assert raised.value.metadata["limit_files"] == str(MAX_FILES)
    tree.close()


@pytest.mark.parametrize("name", ["absent", "absent/below", "weights/below", "x" * 300])
def test_what_is_not_there_is_told(fs: ReachingFileSystem, folder: Path, name: str) -> None:
    """A place where the caller may look is no secret."""
    tree = open_tree(fs, folder, top=name)
    with pytest.raises(InvalidFieldError, match="there is nothing at model"):
        tree.find()
    tree.close()


class DenyingFileSystem(FileSystem):
    """Fails each open with an errno."""

    def __init__(self, code: int) -> None:
        self._code = code

    def open_inside(self, dir_fd: int, path: str, flags: int) -> int:  # noqa: ARG002
        raise OSError(self._code, os.strerror(self._code), path)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.EACCES, SourceNotAllowedError),
        (errno.EPERM, SourceNotAllowedError),
        (errno.EMFILE, TooManyRequestsError),
        (errno.EIO, IoError),
    ],
)
def test_what_the_system_says_is_given_its_meaning(
    folder: Path, code: int, error: type[AssetError]
) -> None:
    """Found, listed or read: with the name of the error, and nothing else of it."""
    failing, real = open_tree(DenyingFileSystem(code), folder), open_tree(FileSystem(), folder)
    files = files_of(real)
    real.close()
    for call in (
        failing.find,
        lambda: list(failing.list(AssetKind.DIRECTORY)),
        lambda: failing.read(files[0], 0, 1),
    ):
        with pytest.raises(error) as raised:
            call()
        assert errno.errorcode[code] in str(raised.value)
        assert os.strerror(code) not in str(raised.value)
    failing.close()


@pytest.mark.parametrize("call", ["open", "list_names", "lstat", "fstat", "pread"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_disk_that_fails_is_told(folder: Path, call: str, number: int) -> None:
    """At whichever call; and no descriptor is left."""
    fs = RecordingFileSystem()
    tree = open_tree(fs, folder)
    fs.fail(number, errno.EIO, call)
    with pytest.raises(IoError, match="EIO"):
        parts_of(tree)
    assert fs.open_paths == [""]
    tree.close()


# What changes


def _rewrite(folder: Path) -> None:
    """Other bytes of the same size, with the old times."""
    weights = folder / "weights"
    before = weights.stat()
    weights.write_bytes(b"v" * before.st_size)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))


def _truncate(folder: Path) -> None:
    (folder / "weights").write_bytes(b"")


def _append(folder: Path) -> None:
    with (folder / "weights").open("ab") as file:
        file.write(b"more")


def _replace(folder: Path) -> None:
    (folder / "new").write_bytes((folder / "weights").read_bytes())
    (folder / "new").rename(folder / "weights")


def _remove(folder: Path) -> None:
    (folder / "weights").unlink()


def _swap_for_a_link(folder: Path) -> None:
    (folder / "weights").rename(folder.parent / "weights")
    (folder / "weights").symlink_to(folder.parent / "weights")


def _swap_for_a_fifo(folder: Path) -> None:
    (folder / "weights").unlink()
    os.mkfifo(folder / "weights")


def _swap_for_a_folder(folder: Path) -> None:
    (folder / "weights").unlink()
    (folder / "weights").mkdir()
    (folder / "weights/inside").write_text("")


def _link(folder: Path) -> None:
    (folder.parent / "another name").hardlink_to(folder / "weights")


def _add(folder: Path) -> None:
    (folder / "more").write_text("")


def _swap_the_folder_for_a_link(folder: Path) -> None:
    (folder / "1_Pooling").rename(folder.parent / "1_Pooling")
    (folder / "1_Pooling").symlink_to(folder.parent / "1_Pooling", target_is_directory=True)


def _take_the_folder_away(folder: Path) -> None:
    (folder / "1_Pooling").rename(folder.parent / "1_Pooling")


FILE_CHANGES = [
    _rewrite,
    _truncate,
    _append,
    _replace,
    _remove,
    _swap_for_a_link,
    _swap_for_a_fifo,
    _swap_for_a_folder,
    _link,
]
file_changes = pytest.mark.parametrize(
    "change", FILE_CHANGES, ids=[change.__name__.strip("_") for change in FILE_CHANGES]
)
Change = Callable[[Path], None]


@file_changes
def test_a_changed_file_is_not_read(tree: SourceTree, folder: Path, change: Change) -> None:
    """It is compared after it is opened, and opened without following a link or waiting."""
    weights = files_of(tree)[2]
    change(folder)
    with pytest.raises(SourceChangedError, match="model/weights changed while it was being pushed"):
        tree.read(weights, 0, 10)
    with pytest.raises(SourceChangedError):
        tree.hash_on(weights, RunningHashes(), 10)


@pytest.mark.parametrize("change", [_rewrite, _truncate, _append, _link])
def test_a_change_while_it_is_read_is_seen(
    folder: Path, fs: ReachingFileSystem, tree: SourceTree, change: Change
) -> None:
    """What was read before counts for nothing then."""
    weights = files_of(tree)[2]
    fs.before("pread", lambda: change(folder), number=2)
    with pytest.raises(SourceChangedError):
        tree.hash_all([weights])


@pytest.mark.parametrize("change", [*FILE_CHANGES, _add], ids=lambda change: change.__name__)
def test_any_change_is_seen_in_the_end(tree: SourceTree, folder: Path, change: Change) -> None:
    """Names, inodes, sizes, and times that nobody can set."""
    before = files_of(tree)
    check_unchanged(tree, before)
    change(folder)
    with pytest.raises((SourceChangedError, UnsupportedFileError)):
        check_unchanged(tree, before)


def test_a_folder_swapped_for_a_link_is_not_followed(tree: SourceTree, folder: Path) -> None:
    """Every folder on the way is opened beneath the one above."""
    config = files_of(tree)[1]
    _swap_the_folder_for_a_link(folder)
    with pytest.raises(SourceChangedError):
        tree.read(config, 0, 1)


VANISHING: list[tuple[str, str, Change]] = [
    ("a folder before it is opened", "open", _take_the_folder_away),
    ("a folder for a link", "open", _swap_the_folder_for_a_link),
    ("a file before it is looked at", "lstat", _remove),
]


@pytest.mark.parametrize(
    ("call", "change"), [row[1:] for row in VANISHING], ids=[r[0] for r in VANISHING]
)
def test_what_goes_while_it_is_listed_is_a_change(folder: Path, call: str, change: Change) -> None:
    """And nothing that the caller did wrong."""
    fs = RecordingFileSystem()
    tree = open_tree(fs, folder)
    assert tree.find() is AssetKind.DIRECTORY
    fs.before(call, lambda: change(folder), number=2 if call == "open" else 1)
    with pytest.raises(SourceChangedError):
        for _ in tree.list(AssetKind.DIRECTORY):
            pass
    tree.close()


def test_a_file_that_becomes_a_folder_is_a_change(folder: Path) -> None:
    """And the reverse: what was found is what is listed."""
    tree = open_tree(FileSystem(), folder / "weights")
    with pytest.raises(SourceChangedError):
        list(tree.list(AssetKind.DIRECTORY))
    tree.close()
    gone = open_tree(FileSystem(), folder / "gone")
    with pytest.raises(SourceChangedError):
        list(gone.list(AssetKind.FILE))
    gone.close()


# Nothing outside


# Each a place in the tree, and the link beside the tree that takes its place.
SWAPS = {
    "folder": ("model/1_Pooling", "folder-link"),
    "file": ("model/weights", "file-link"),
    "whole": ("model", "model-link"),
}


@pytest.fixture
def above(folder: Path, tmp_path: Path) -> Path:
    """The folder above the tree, with links that lead outside, to what looks like the tree."""
    outside = tmp_path / "outside"
    (outside / "1_Pooling").mkdir(parents=True)
    for name in ("config.json", "weights", "1_Pooling/config.json"):
        (outside / name).write_bytes(SECRET)
    (folder / "weights").write_bytes(b"w" * 100)
    # Relative to where they are to stand: an absolute one may also fail for leaving the mount.
    (folder.parent / "folder-link").symlink_to("../../outside", target_is_directory=True)
    (folder.parent / "file-link").symlink_to("../../outside/weights")
    (folder.parent / "model-link").symlink_to("../outside", target_is_directory=True)
    return folder.parent


def walk_once(fs: ReachingFileSystem, above: Path, hashes: set[str | None]) -> bool:
    """Push it, so to speak; tells whether it was refused as what changes or is no plain file."""
    tree = open_tree(fs, above / "model")
    try:
        hashes |= {part.sha256_hex for part in parts_of(tree)}
    except (SourceChangedError, UnsupportedFileError, InvalidFieldError):
        return True
    finally:
        tree.close()
    return False


def check_nothing_outside(fs: ReachingFileSystem, above: Path, hashes: set[str | None]) -> None:
    """Every open is asked where it has arrived, and no hash is that of what lies outside."""
    assert fs.reached
    assert [path for path in fs.reached if not f"{path}/".startswith(f"{above}/")] == []
    assert hashlib.sha256(SECRET).hexdigest() not in hashes


@pytest.mark.parametrize("place", SWAPS)
def test_a_swap_at_any_call_leads_nobody_outside(
    fs: ReachingFileSystem, above: Path, place: str
) -> None:
    """Whoever swaps folders and files for links while they are walked leads nobody outside."""
    hashes: set[str | None] = set()
    begin = len(fs.calls)
    assert not walk_once(fs, above, hashes)
    swaps = FileSystem()
    fd = swaps.open_root(str(above))
    one, other = SWAPS[place]
    count = len(fs.calls) - begin
    refused = 0
    # There before one call, and back before another.
    for first, second in itertools.combinations(range(2, count + 2), 2):
        for number in (first, second):
            fs.before_call(number, lambda: swaps.rename_exchange(fd, one, fd, other))
        refused += walk_once(fs, above, hashes)
        while fs.planned:
            fs.fstat(fd)
    swaps.close(fd)
    assert refused > count
    check_nothing_outside(fs, above, hashes)


def test_a_racer_leads_nobody_outside(fs: ReachingFileSystem, above: Path, tmp_path: Path) -> None:
    """The same at moments that nobody has chosen, by another process."""
    # The whole is swapped back at once: through its link the racer would move what lies outside.
    pairs = [SWAPS[place] for place in ("folder", "file", "whole", "whole")]
    program: list[str | Path] = [sys.executable, swapper.__file__, above, *itertools.chain(*pairs)]
    log = tmp_path / "swapper.log"
    hashes: set[str | None] = set()
    with running(program, log=log, is_ready=lambda: bool(log.read_bytes())):
        refused = sum(walk_once(fs, above, hashes) for _ in range(RACES))
    assert 10 < refused < RACES
    check_nothing_outside(fs, above, hashes)


def test_the_watch_of_the_race_sees_what_leads_outside(tmp_path: Path) -> None:
    """Were a link followed, the test above would fail."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(SECRET)
    (tmp_path / "push").mkdir()
    (tmp_path / "push/link").symlink_to(tmp_path / "outside/secret")

    class Following(ReachingFileSystem):
        def _open(self, dir_fd: int, path: str, flags: int) -> int:
            return os.open(path, flags, dir_fd=dir_fd)

    fs = Following()
    base_fd = fs.open_root(str(tmp_path / "push"))
    os.close(fs.open_inside(base_fd, "link", os.O_RDONLY))
    fs.close(base_fd)
    assert fs.reached == {f"{tmp_path}/outside/secret"}


# Names


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain/ä", "plain/ä"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("line\nbreak\x1b[31m", "line\\nbreak\\x1b[31m"),
        ("turned\u202eround", "turned\\u202eround"),
    ],
)
def test_names_are_shown_on_one_line(name: str, shown: str) -> None:
    """Whatever somebody called a file, a terminal and a log show what it is."""
    assert printable(name) == shown
