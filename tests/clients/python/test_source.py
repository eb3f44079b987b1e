"""What is pushed: which files a source has, what it hashes to, and what is refused."""

import hashlib
import os
import socket as sockets
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from assetd import (
    InvalidFieldError,
    InvalidPartError,
    SourceChangedError,
    UnsupportedFileError,
)
from assetd._globs import Globs
from assetd._hashing import hash_source
from assetd._source import MAX_PATH_BYTES, READ_BYTES, Source, list_source
from assetd_server.assets.globs import glob_matches
from hypothesis import assume, given
from hypothesis import strategies as st


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of three files, one of which has a name that sorts differently as text."""
    root = tmp_path / "model"
    (root / "1_Pooling").mkdir(parents=True)
    (root / "1_Pooling/config.json").write_text("{}")
    (root / ".gitattributes").write_text("")
    (root / "weights").write_bytes(b"w" * (2 * READ_BYTES + 1))
    return root


def ignore(_: int) -> None:
    """Progress that nobody watches."""


def paths(source: Source) -> list[str]:
    """The files of a source, in its order."""
    return [file.path for file in source.files]


def test_a_folder_is_all_its_files(folder: Path) -> None:
    """Dotfiles are files, and folders are in their paths."""
    source = list_source(folder)
    assert source.is_directory
    assert paths(source) == [".gitattributes", "1_Pooling/config.json", "weights"]
    assert source.total_bytes == 2 * READ_BYTES + 3


def test_a_file_is_one_file_without_a_path(folder: Path) -> None:
    """As the contract names the only part of a file asset."""
    source = list_source(folder / "weights")
    assert (source.is_directory, paths(source)) == (False, [""])


def test_the_digest_of_a_file_is_its_sha256(folder: Path) -> None:
    """Of its bytes, read in pieces."""
    source = list_source(folder / "weights")
    expected = hashlib.sha256((folder / "weights").read_bytes()).hexdigest()
    digests = hash_source(source, ignore)
    assert digests.digest == digests.files[""] == f"sha256:{expected}"


def test_anyone_can_compute_the_digest_of_a_folder(folder: Path) -> None:
    """It is that of what `sha256sum` prints for the files in bytewise order."""
    (folder / "a-b").mkdir()
    (folder / "a-b/x").write_text("1")
    (folder / "a").mkdir()
    (folder / "a/x").write_text("2")
    (folder / "é").write_text("3")
    (folder / "z 1").write_text("4")
    listing = subprocess.run(  # noqa: S602 - a pipe, as a person would write it
        "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum",
        shell=True,
        cwd=folder,
        capture_output=True,
        check=True,
    ).stdout
    digests = hash_source(list_source(folder), ignore)
    assert digests.digest == f"sha256:{hashlib.sha256(listing).hexdigest()}"


def test_hashing_tells_how_far_it_is(folder: Path) -> None:
    """Absolute figures that end at the whole size."""
    source = list_source(folder)
    seen: list[int] = []
    hash_source(source, seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == source.total_bytes


def _make_symlink(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def _make_dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def _make_folder_link(path: Path) -> None:
    path.symlink_to("/etc", target_is_directory=True)


def _make_hard_link(path: Path) -> None:
    original = path.parent.parent / "original"
    original.write_text("")
    path.hardlink_to(original)


def _make_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        # By a short name: the path of a socket has few bytes.
        with sockets.socket(sockets.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def _make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


KINDS: list[tuple[Callable[[Path], None], str]] = [
    (_make_symlink, "a symlink"),
    (_make_dangling, "a symlink"),
    (_make_folder_link, "a symlink"),
    (_make_hard_link, "a hard link"),
    (os.mkfifo, "a FIFO"),
    (_make_socket, "a socket"),
    (_make_device, "a device"),
]


@pytest.mark.parametrize(
    ("make", "kind"), KINDS, ids=[make.__name__.strip("_") for make, _ in KINDS]
)
@pytest.mark.parametrize("inside", [True, False], ids=["inside", "itself"])
def test_what_is_no_plain_file_is_refused_unopened(
    folder: Path, make: Callable[[Path], None], kind: str, inside: bool
) -> None:
    """A link, device, FIFO, socket or hard link in a pushed folder is refused, and not opened.

    To open the FIFO would hang here.
    """
    path = folder / "1_Pooling" / "strange"
    make(path)
    with pytest.raises(UnsupportedFileError) as raised:
        list_source(folder if inside else path)
    assert raised.value.metadata == {"path": str(path), "kind": kind}
    assert f"{path} is {kind}" in str(raised.value)


@pytest.mark.parametrize("name", ["", "empty", "1_Pooling/empty"])
def test_an_empty_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    """The store keeps files: it would silently be missing in the version."""
    root = folder if name else tmp_path / "nothing"
    (root / name).mkdir()
    with pytest.raises(InvalidPartError, match="is an empty folder"):
        list_source(root)


def left(folder: Path, *exclude: str) -> list[str]:
    """What is pushed of a folder without what the globs match."""
    return paths(list_source(folder, Globs(exclude)))


def test_globs_leave_files_out(folder: Path) -> None:
    """As a fetch would: `*` stops at a folder, and a folder's name alone is no file."""
    assert left(folder, "*") == ["1_Pooling/config.json"]
    assert left(folder, "**/*.json", ".*") == ["weights"]
    assert left(folder, "1_Pooling/**") == [".gitattributes", "weights"]
    assert left(folder, "1_Pooling") == paths(list_source(folder))


def test_what_is_excluded_is_not_looked_at(folder: Path) -> None:
    """Neither refused nor opened, whatever it is; to open the FIFO would hang."""
    closed = folder / "closed" / "sub"
    closed.mkdir(parents=True)
    _make_hard_link(folder / "twice")
    os.mkfifo(folder / "1_Pooling" / "fifo")
    _make_folder_link(folder / "link")
    os.mkfifo(closed / "fifo")
    (folder / os.fsdecode(b"caf\xe9")).write_text("")
    names = paths(list_source(folder, Globs(["caf?", "twice", "link", "**/fifo"])))
    assert names == [".gitattributes", "1_Pooling/config.json", "weights"]


def test_an_excluded_folder_is_not_entered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even opened, so that it may be one that nobody can read."""
    entered: list[str] = []
    open_ = os.open

    def opened(path: str | Path, *arguments: Any, **options: Any) -> int:
        entered.append(str(path))
        return open_(path, *arguments, **options)

    (folder / "deep/.git/objects").mkdir(parents=True)
    monkeypatch.setattr(os, "open", opened)
    left(folder, "**/.git/**")
    assert sorted(entered) == sorted([str(folder), "1_Pooling", "deep"])


def test_a_folder_that_globs_have_emptied_is_no_error(folder: Path) -> None:
    """One that was empty before is, unless it is excluded itself."""
    assert left(folder, "1_Pooling/*") == [".gitattributes", "weights"]
    (folder / "empty").mkdir()
    with pytest.raises(InvalidPartError, match="empty folder"):
        left(folder, "1_Pooling/*")
    assert left(folder, "1_Pooling/*", "empty/**") == [".gitattributes", "weights"]


def test_nothing_left_is_an_error(folder: Path) -> None:
    """No version is empty."""
    with pytest.raises(InvalidPartError, match="no file that is not excluded") as raised:
        left(folder, "**")
    assert raised.value.metadata["path"] == str(folder)


@pytest.mark.parametrize(
    ("name", "glob"), [("weights", "*.json"), ("", ""), ("", "sub/"), ("", "/sub"), ("", "a//b")]
)
def test_globs_that_mean_nothing_are_refused(folder: Path, name: str, glob: str) -> None:
    """For a file; and `cache/`, which a shell completes and which would leave out nothing."""
    with pytest.raises(InvalidFieldError) as raised:
        list_source(folder / name, Globs([glob]))
    assert raised.value.metadata == {"field": "exclude"}


def test_a_change_of_what_is_excluded_is_none(folder: Path) -> None:
    """A log may grow beside the model that is pushed; other files may not."""
    source = list_source(folder, Globs(["*.log"]))
    (folder / "train.log").write_text("more")
    source.check_unchanged()
    (folder / "train.txt").write_text("more")
    with pytest.raises(SourceChangedError):
        source.check_unchanged()


GLOBS = st.text(alphabet="ab*?/[]!.", max_size=8)
PATHS = st.lists(st.text(alphabet="ab[]!.", min_size=1, max_size=3), min_size=1, max_size=4)


@given(glob=GLOBS, segments=PATHS)
def test_globs_mean_what_they_mean_to_the_daemon(glob: str, segments: list[str]) -> None:
    """What is excluded from a push is what would be excluded from a fetch."""
    path = "/".join(segments)
    if "" in glob.split("/"):
        assert not glob_matches(glob, path), "what is refused here matches nothing there"
    else:
        assert Globs(glob).match(path) == glob_matches(glob, path)


@given(glob=GLOBS, segments=PATHS, below=PATHS)
def test_a_folder_is_left_out_only_if_all_in_it_is(
    glob: str, segments: list[str], below: list[str]
) -> None:
    """Whatever lies in it, now or later."""
    assume("" not in glob.split("/"))
    if Globs(glob).match_all_below("/".join(segments)):
        assert glob_matches(glob, "/".join([*segments, *below]))


def test_what_stops_the_hashing_stops_all_of_it(folder: Path) -> None:
    """No thread of it is left, and what was raised comes out, Ctrl-C too."""
    before = threading.active_count()

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hash_source(list_source(folder), interrupt)
    assert threading.active_count() == before


def test_a_name_that_is_not_utf8_is_refused(folder: Path) -> None:
    """The wire carries text; the message shows the bytes."""
    (folder / os.fsdecode(b"caf\xe9")).write_text("")
    with pytest.raises(InvalidPartError, match="not UTF-8") as raised:
        list_source(folder)
    assert raised.value.metadata == {"path": f"{folder}/caf\\xe9"}


def test_a_path_that_no_key_can_hold_is_refused(folder: Path) -> None:
    """Which also keeps a very deep tree from ending in Python's own limit."""
    deep = folder
    for _ in range(MAX_PATH_BYTES // 100 + 1):
        deep /= "d" * 100
    deep.mkdir(parents=True)
    with pytest.raises(InvalidPartError, match="more than 1024 bytes"):
        list_source(folder)


def test_a_source_that_is_not_there_is_pythons_own_error(tmp_path: Path) -> None:
    """Nothing of ours to _add."""
    with pytest.raises(FileNotFoundError):
        list_source(tmp_path / "nothing")


def _rewrite(folder: Path) -> None:
    """Other bytes of the same size, with the old times."""
    weights = folder / "weights"
    before = weights.stat()
    weights.write_bytes(b"v" * before.st_size)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))


def _truncate(folder: Path) -> None:
    (folder / "weights").write_bytes(b"")


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


def _add(folder: Path) -> None:
    (folder / "more").write_text("")


def _swap_the_folder_for_a_link(folder: Path) -> None:
    (folder / "1_Pooling").rename(folder.parent / "1_Pooling")
    (folder / "1_Pooling").symlink_to(folder.parent / "1_Pooling", target_is_directory=True)


def _swap_for_a_file(folder: Path) -> None:
    folder.rename(folder.parent / "before")
    folder.write_text("")


CHANGES = [
    _rewrite,
    _truncate,
    _replace,
    _remove,
    _swap_for_a_link,
    _swap_for_a_fifo,
    _add,
    _swap_the_folder_for_a_link,
    _swap_for_a_file,
]


@pytest.mark.parametrize("change", CHANGES, ids=[change.__name__.strip("_") for change in CHANGES])
def test_any_change_is_seen(folder: Path, change: Callable[[Path], None]) -> None:
    """Names, inodes, sizes, and times that nobody can set."""
    source = list_source(folder)
    source.check_unchanged()
    change(folder)
    with pytest.raises(SourceChangedError) as raised:
        source.check_unchanged()
    assert str(folder) in raised.value.metadata["path"]


@pytest.mark.parametrize(
    "change", [_rewrite, _truncate, _replace, _remove, _swap_for_a_link, _swap_for_a_fifo]
)
def test_a_changed_file_is_not_read(folder: Path, change: Callable[[Path], None]) -> None:
    """It is looked at after it is opened, and opened without following a link or waiting."""
    source = list_source(folder)
    change(folder)
    with pytest.raises(SourceChangedError):
        hash_source(source, ignore)


def test_a_folder_swapped_for_a_link_is_not_followed(folder: Path) -> None:
    """Every folder on the way is opened beneath the one above."""
    source = list_source(folder)
    _swap_the_folder_for_a_link(folder)
    with pytest.raises(SourceChangedError):
        list(source.read(source.files[1]))


@pytest.mark.parametrize("change", [_rewrite, _truncate])
def test_a_change_while_it_is_read_is_seen(folder: Path, change: Callable[[Path], None]) -> None:
    """What was read before counts for nothing then."""
    source = list_source(folder)
    data = source.read(source.files[2])
    next(data)
    change(folder)
    with pytest.raises(SourceChangedError):
        list(data)


def test_a_file_is_read_from_where_it_is_wanted(folder: Path) -> None:
    """A push that goes on after a cut begins in the middle."""
    source = list_source(folder)
    pieces = list(source.read(source.files[2], offset=READ_BYTES - 1))
    assert [len(piece) for piece in pieces] == [READ_BYTES, 2]


def test_no_descriptor_is_left(folder: Path) -> None:
    """Neither by a refusal, nor by a reader who stops in the middle."""
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - names are all that is wanted
    source = list_source(folder)
    next(source.read(source.files[2]))
    os.mkfifo(folder / "1_Pooling" / "strange")
    with pytest.raises(UnsupportedFileError):
        list_source(folder)
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208
