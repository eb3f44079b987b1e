"""What people do to ASSETS_DIR by hand, and what dead programs leave there.

Cases 13, 59 and 60 of docs/faults.md: the next fetch looks, and makes it whole.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from assetd import Client, UnsafePathError

from tests.support.daemon import Daemon, running_daemons
from tests.support.trees import MARKER, read_tree, write_tree

FILE = b"0123456789" * 50_000
TREE = {"config.json": b"{}", "sub/weights": b"w" * 300_000, "sub/deep/empty": b""}
NEWER = b'{"format": 99}'


@dataclass(frozen=True)
class Cached:
    """A daemon whose cache holds some/file and some/folder."""

    daemon: Daemon
    client: Client

    def path(self, name: str) -> Path:
        """Where the version stands, or stood."""
        return self.daemon.assets_dir / "some" / name / "0.0"

    def marker(self, name: str) -> Path:
        """Where its marker stands."""
        path = self.path(name)
        return path.with_name(f".0.0{MARKER}") if name == "file" else path / MARKER


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cached]:
    """One daemon for all: each test mends what it broke."""
    folder = tmp_path_factory.mktemp("by-hand")
    with running_daemons(folder) as daemons:
        daemon = daemons(store=folder / "store")
        (folder / "file").write_bytes(FILE)
        write_tree(folder / "folder", TREE)
        with daemon.client() as client:
            for name in ("file", "folder"):
                client.push(folder / name, f"some/{name}")
            yield Cached(daemon, client)


def cut(path: Path) -> None:
    """Take away the second half, as an editor does: another file in its place."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: len(data) // 2])


def flip(path: Path) -> None:
    """Make the receipt's first figure another one."""
    path.write_bytes(path.read_bytes().replace(b'"size":', b'"size":1', 1))


def become_folder(path: Path) -> None:
    """A folder where a file was."""
    path.unlink()
    write_tree(path, {"left/over": b"x"})


def become_file(path: Path) -> None:
    """A file where a folder was."""
    shutil.rmtree(path)
    path.write_bytes(b"left over")


def unmark_and_cut(cached: Cached) -> None:
    """What a modelkit that was killed leaves: half of the data, and no marker."""
    cached.marker("file").unlink()
    cut(cached.path("file"))


def empty(path: Path) -> None:
    """All parts gone; the marker stays."""
    shutil.rmtree(path / "sub")
    (path / "config.json").unlink()


Work = Callable[[Cached], object]
REPLACED: dict[str, tuple[str, Work]] = {
    "file-deleted": ("file", lambda c: c.path("file").unlink()),
    "file-cut": ("file", lambda c: cut(c.path("file"))),
    "file-and-marker-deleted": ("file", lambda c: shutil.rmtree(c.path("file").parent)),
    "file-became-folder": ("file", lambda c: become_folder(c.path("file"))),
    "file-cut-and-unmarked": ("file", unmark_and_cut),
    "folder-deleted": ("folder", lambda c: shutil.rmtree(c.path("folder"))),
    "part-deleted": ("folder", lambda c: (c.path("folder") / "sub/deep/empty").unlink()),
    "part-cut": ("folder", lambda c: cut(c.path("folder") / "sub/weights")),
    "folder-became-file": ("folder", lambda c: become_file(c.path("folder"))),
    "folder-emptied-but-for-its-marker": ("folder", lambda c: empty(c.path("folder"))),
}


@pytest.mark.parametrize("case", REPLACED)
def test_what_was_broken_by_hand_is_fetched_again(cached: Cached, case: str) -> None:
    """Versions may be deleted by hand at any time, whole or in part: the next fetch mends them."""
    name, work = REPLACED[case]
    cached.client.fetch(f"some/{name}:0.0")
    work(cached)
    mended = cached.client.fetch(f"some/{name}:0.0")
    assert read_tree(mended.path) == ({"": FILE} if name == "file" else TREE)
    assert cached.marker(name).read_bytes() != b""
    assert cached.daemon.leftovers() == []


ADOPTED: dict[str, tuple[str, Work]] = {
    f"{name}-{how}": (name, work)
    for name in ("file", "folder")
    for how, work in {
        "marker-deleted": lambda c, n=name: c.marker(n).unlink(),
        "receipt-emptied": lambda c, n=name: c.marker(n).write_bytes(b""),
        "receipt-cut": lambda c, n=name: cut(c.marker(n)),
        "receipt-flipped": lambda c, n=name: flip(c.marker(n)),
    }.items()
}


@pytest.mark.parametrize("case", ADOPTED)
def test_a_receipt_that_was_damaged_is_written_again(cached: Cached, case: str) -> None:
    """A receipt that is gone or damaged costs a look at the store, and no download."""
    name, work = ADOPTED[case]
    before = cached.client.fetch(f"some/{name}:0.0").path.stat()
    work(cached)
    adopted = cached.client.fetch(f"some/{name}:0.0")
    assert (adopted.source, adopted.transferred_bytes) == ("cache", 0)
    assert adopted.path.stat().st_ino == before.st_ino
    assert b'"format":1' in cached.marker(name).read_bytes()


@pytest.mark.parametrize("name", ["file", "folder"])
def test_what_a_later_release_left_is_not_touched(cached: Cached, name: str) -> None:
    """What a later release of assetd stored is refused by name, and never deleted or replaced."""
    path = cached.client.fetch(f"some/{name}:0.0").path
    before = read_tree(path)
    receipt = cached.marker(name).read_bytes()
    cached.marker(name).write_bytes(NEWER)
    for force in (False, True):
        with pytest.raises(UnsafePathError, match="later release"):
            cached.client.fetch(f"some/{name}:0.0", force_download=force)
    assert read_tree(path) == before
    assert cached.marker(name).read_bytes() == NEWER
    cached.marker(name).write_bytes(receipt)
