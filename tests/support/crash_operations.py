"""What a crash may interrupt: the operations of the cache, each with what has to hold after it.

The calls are those that a flight, a start or an eviction makes; only where the bytes come from is
made up. Whoever changes the cache's protocol changes `land` with it, and nothing else here.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.linux import FileSystem
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.publish import Publisher, try_modelkit_lock
from assetd_server.cache.receipt import Receipt
from assetd_server.cache.recover import recover

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
    stage,
    standing,
)

# Old and new are equally long: sizes alone never tell them apart.
FILE, OLD_FILE = b"new content" * 500, b"old content" * 500
TREE = {"a": b"new a" * 300, "sub/b": b"new b", "sub/deep/c": b"", "sub/deep/d": b"new d" * 1000}
OLD_TREE = {path: data.replace(b"new", b"old") for path, data in TREE.items()}
# More than are synced one by one.
MANY = {f"folder{number % 2}/{number}": b"%03d" % number * 40 for number in range(18)}


def land(
    assets_dir: AssetsDir,
    content: Content,
    paths: VersionPaths = PATHS,
    *,
    replaces: bool = False,
) -> None:
    """Do what a flight does: adopt what stands there whole, else stage and publish."""
    lookup, receipt = Lookup(assets_dir), receipt_of(content)
    publisher = Publisher(assets_dir, lookup)
    if not replaces:
        if lookup.hit(paths) is not None:
            return
        if lookup.is_whole(paths, receipt.manifest.kind, receipt.manifest.parts):
            with modelkit_lock(assets_dir, paths):
                publisher.adopt(paths, receipt)
            return
    staged = stage(assets_dir, content, paths)
    try:
        with modelkit_lock(assets_dir, paths):
            publisher.publish(staged, receipt)
    finally:
        staged.discard()


@contextmanager
def modelkit_lock(assets_dir: AssetsDir, paths: VersionPaths) -> Iterator[None]:
    """Hold modelkit's lock, which nobody else has."""
    lock = try_modelkit_lock(assets_dir, paths)
    assert lock is not None
    try:
        yield
    finally:
        lock.release()


def nothing(root: Path) -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Operation:
    """Something that a crash may interrupt.

    `prepare` makes what was durable before; `disturb` what somebody else did a moment ago and did
    not sync. `old` stands there before and `new` afterwards, None = nothing.
    """

    name: str
    act: Callable[[AssetsDir], None]
    new: Content | None
    old: Content | None = None
    prepare: Callable[[Path], None] = nothing
    disturb: Callable[[Path], None] = nothing
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


def fill_own_folders(root: Path) -> None:
    """A version that stands, and what a dead run left in trash and staging."""
    put_ours(root, FILE)
    for name in (f"trash/{PATHS.key}", f"staging/{PATHS.key}/data", "push/1/0"):
        write_tree(root / ".assetd" / name, {"a": b"a", "sub/b": b"b"})


def start(assets_dir: AssetsDir) -> None:
    """Begin a run."""
    assert recover(assets_dir)


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
        Operation("start", start, FILE, FILE, prepare=fill_own_folders),
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
    if acknowledged and found != operation.new:
        wrong.append(f"acknowledged and lost: {_parts_of(found)}")
    if acknowledged and hit != _receipt(operation.new):
        wrong.append("acknowledged and not marked")
    return wrong


def after_the_next_run(root: Path, operation: Operation) -> list[str]:
    """Start, do it again, and return what is wrong then; sound = whole, marked, nothing left."""
    assets_dir = AssetsDir(str(root), _Settled())
    wrong = []
    try:
        assert recover(assets_dir)
        if left := entries(root, "trash"):
            wrong.append(f"the start left in trash: {left}")
        operation.repeat(assets_dir)
    finally:
        assets_dir.close()
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
    assets_dir = AssetsDir(str(root), _Settled())
    try:
        return Lookup(assets_dir).hit(PATHS)
    finally:
        assets_dir.close()


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
