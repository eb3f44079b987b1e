"""What a crash may interrupt: the operations of the cache, each with what has to hold after it.

A new one is an entry of `OPERATIONS`; what a flight does is in `flights`.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from assetd_server.cache.evict import Outcome, empty_trash, evict
from assetd_server.cache.layout import TRASH, AssetsDir, VersionPaths
from assetd_server.cache.linux import FileSystem
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.receipt import Receipt
from assetd_server.cache.recover import recover
from assetd_server.errors import IoError
from assetd_server.model import AssetKind
from assetd_server.versioning import Version

from tests.support.file_systems import FaultyFileSystem
from tests.support.flights import interrupt, land
from tests.support.trees import write_tree
from tests.support.versions import (
    PATHS,
    Content,
    by_path,
    marker_path,
    modelkit_serves,
    put,
    put_ours,
    receipt_of,
    standing,
)

# Old and new are equally long: sizes alone never tell them apart.
FILE, OLD_FILE = b"new content" * 500, b"old content" * 500
TREE = {"a": b"new a" * 300, "sub/b": b"new b", "sub/deep/c": b"", "sub/deep/d": b"new d" * 1000}
OLD_TREE = {path: data.replace(b"new", b"old") for path, data in TREE.items()}
# More than are synced one by one.
MANY = {f"folder{number % 2}/{number}": b"%03d" % number * 40 for number in range(18)}


def nothing(_: object) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Operation:
    """Something that a crash may interrupt.

    `prepare` makes what was durable before; `disturb` what somebody else did a moment ago and did
    not sync. `old` stands there before and `new` afterwards, None = nothing. `clean_up` comes after
    the acknowledgement of `act`.
    """

    name: str
    act: Callable[[AssetsDir], None]
    new: Content | None
    old: Content | None = None
    prepare: Callable[[Path], None] = nothing
    disturb: Callable[[Path], None] = nothing
    clean_up: Callable[[AssetsDir], None] = nothing
    # What stands there before is unsynced and of modelkit's making: only our marker promises.
    is_modelkits: bool = False

    @property
    def wanted(self) -> Content:
        """What has to stand in the end, once there is power again."""
        wanted = self.old if self.new is None else self.new
        assert wanted is not None
        return wanted

    def repeat(self, assets_dir: AssetsDir) -> None:
        """Do it again after the crash, or fetch again what it took away."""
        if self.new is None:
            land(assets_dir, self.wanted)
        else:
            self.act(assets_dir)


def publishing(name: str, new: Content, old: Content | None = None) -> Operation:
    """A fetch of what is not there, or a fetch that replaces what is."""
    if old is None:
        return Operation(name, lambda assets_dir: land(assets_dir, new), new)
    return Operation(
        name,
        lambda assets_dir: land(assets_dir, new, replaces=True),
        new,
        old,
        prepare=lambda root: put_ours(root, old),
    )


def adopting(name: str, content: Content, marker: bytes | None) -> Operation:
    """A fetch of what modelkit downloaded a moment ago."""
    return Operation(
        name,
        lambda assets_dir: land(assets_dir, content),
        content,
        disturb=lambda root: put(root, content, marker=marker),
        is_modelkits=True,
    )


def hitting(name: str, content: Content) -> Operation:
    """The first hit of a version that a run published, and died before it synced the renames."""

    def prepare(root: Path) -> None:
        put_ours(root / "aside", content)
        (root / PATHS.folder).mkdir(parents=True)

    def disturb(root: Path) -> None:
        data = root / PATHS.data
        (root / "aside" / PATHS.data).rename(data)
        if data.is_file():
            marker_path(root / "aside", content).rename(marker_path(root, content))

    return Operation(
        name,
        lambda assets_dir: land(assets_dir, content),
        content,
        prepare=prepare,
        disturb=disturb,
    )


@contextmanager
def opened(root: Path, fs: FileSystem) -> Iterator[AssetsDir]:
    """ASSETS_DIR for the length of the block."""
    assets_dir = AssetsDir(str(root), fs)
    try:
        yield assets_dir
    finally:
        assets_dir.close()


def resuming(name: str, content: Content, steps: int) -> Operation:
    """A fetch of what a killed run had begun to download, and had not synced."""

    def disturb(root: Path) -> None:
        with opened(root, FaultyFileSystem()) as assets_dir:
            interrupt(assets_dir, content, steps)

    return Operation(name, lambda assets_dir: land(assets_dir, content), content, disturb=disturb)


def reusing(name: str, content: Content) -> Operation:
    """A fetch of what another version of the asset holds as well."""
    other = VersionPaths(PATHS.name, Version.parse("0.0"))
    return Operation(
        name,
        lambda assets_dir: land(assets_dir, content),
        content,
        prepare=lambda root: put_ours(root, content, other),
    )


def evicting(name: str, content: Content) -> Operation:
    """An eviction, and the deletion that follows it in the background."""

    def act(assets_dir: AssetsDir) -> None:
        assert evict(assets_dir, Lookup(assets_dir), PATHS).outcome is Outcome.EVICTED

    return Operation(
        name,
        act,
        new=None,
        old=content,
        prepare=lambda root: put_ours(root, content),
        clean_up=delete_evicted,
    )


def delete_evicted(assets_dir: AssetsDir) -> None:
    """Delete what lies in the trash."""
    with assets_dir.folder(TRASH) as fd:
        names = [entry.name for entry in assets_dir.fs.list_names(fd)]
    for name in names:
        empty_trash(assets_dir, f"{TRASH}/{name}")


def evict_half(root: Path) -> None:
    """A file whose marker an eviction has removed, and whose data it could not."""
    put_ours(root, FILE)
    fs = FaultyFileSystem()
    fs.fail(1, errno.EIO, "rename")
    with opened(root, fs) as assets_dir, suppress(IoError):
        evict(assets_dir, Lookup(assets_dir), PATHS)


def fill_own_folders(root: Path) -> None:
    """A version that stands, and what a dead run left in trash and staging."""
    put_ours(root, FILE)
    for name in (f"trash/{PATHS.key}", f"staging/{PATHS.key}/data", "push/1/0"):
        write_tree(root / ".assetd" / name, {"a": b"a", "sub/b": b"b"})


def start(assets_dir: AssetsDir) -> None:
    """Begin a run."""
    assert recover(assets_dir).writable


OPERATIONS = {
    operation.name: operation
    for operation in (
        publishing("publish-file", FILE),
        publishing("publish-directory", TREE),
        publishing("publish-many", MANY),
        publishing("replace-file", FILE, OLD_FILE),
        publishing("replace-directory", TREE, OLD_TREE),
        publishing("file-over-directory", FILE, OLD_TREE),
        publishing("directory-over-file", TREE, OLD_FILE),
        adopting("adopt-file", FILE, None),
        adopting("adopt-directory", TREE, b""),
        hitting("hit-file", FILE),
        hitting("hit-directory", TREE),
        resuming("resume-file", FILE, 2),
        resuming("resume-directory", TREE, 3),
        resuming("resume-many", MANY, 1),
        reusing("reuse-directory", TREE),
        evicting("evict-file", FILE),
        evicting("evict-directory", TREE),
        Operation("start", start, FILE, FILE, prepare=fill_own_folders),
        Operation("start-after-evict", start, None, FILE, prepare=evict_half),
    )
}


def findings(root: Path, operation: Operation, *, acknowledged: bool) -> list[str]:
    """Return what is wrong with the tree that a crash of the operation left; nothing = sound."""
    found = standing(root)
    hit = _hit(root)
    wrong = []
    if not operation.is_modelkits and found not in (operation.old, operation.new):
        wrong.append(f"partial: {_parts_of(found)}")
    if hit is not None and found not in (operation.old, operation.new):
        wrong.append("a hit that is not whole")
    if hit is not None and hit == _receipt(operation.new) and found != operation.new:
        wrong.append("the new receipt beside the old data")
    if found is None and (root / PATHS.marker(AssetKind.FILE)).exists():
        wrong.append("a marker without data")
    if acknowledged and found != operation.new:
        wrong.append(f"acknowledged and lost: {_parts_of(found)}")
    if acknowledged and hit != _receipt(operation.new):
        wrong.append("acknowledged and not marked")
    return wrong


def after_the_next_run(root: Path, operation: Operation) -> list[str]:
    """Start, do it again, and return what is wrong then; sound = whole, marked, nothing left."""
    wrong = []
    with opened(root, _Settled()) as assets_dir:
        start(assets_dir)
        if left := entries(root, "trash"):
            wrong.append(f"the start left in trash: {left}")
        operation.repeat(assets_dir)
    if modelkit_serves(root) != operation.wanted:
        wrong.append(f"not whole after the next run: {_parts_of(standing(root))}")
    if _hit(root) is None:
        wrong.append("no hit after the next run")
    if left := entries(root, "*"):
        wrong.append(f"left over: {left}")
    return wrong


def entries(root: Path, folder: str) -> list[str]:
    """Return what lies in our own passing folders."""
    own = root / ".assetd"
    return sorted(str(path.relative_to(own)) for path in own.glob(f"{folder}/*"))


def _receipt(content: Content | None) -> Receipt | None:
    return None if content is None else receipt_of(content)


def _hit(root: Path) -> Receipt | None:
    with opened(root, _Settled()) as assets_dir:
        return Lookup(assets_dir).hit(PATHS)


def _parts_of(content: Content | None) -> dict[str, int] | None:
    if content is None:
        return None
    return {path: len(data) for path, data in by_path(content).items()}


class _Settled(FileSystem):
    """For looking: what is looked at is not to be made durable by that."""

    def fsync(self, fd: int) -> None:
        os.fstat(fd)

    def syncfs(self, fd: int) -> None:
        os.fstat(fd)
