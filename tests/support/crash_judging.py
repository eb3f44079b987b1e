"""An operation of the cache that a crash may interrupt, and what has to hold after the crash.

Nothing that somebody would use is partial or mixed, what was acknowledged is there and marked, and
the next run makes good what is missing. `crash_operations` has the operations.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from assetd_server.cache.evict import empty_trash
from assetd_server.cache.layout import TRASH, AssetsDir
from assetd_server.cache.linux import FileSystem
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.recover import recover
from assetd_server.model import AssetKind

from tests.support.flights import land
from tests.support.versions import (
    PATHS,
    Content,
    by_path,
    modelkit_serves,
    receipt_of,
    standing,
)


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

    def findings(self, root: Path, *, acknowledged: bool) -> list[str]:
        """Return what is wrong with the tree that a crash left; nothing = sound."""
        found, vouched = self.standing(root), self.vouched(root)
        is_sound = found in (self.old, self.new)
        wrong = self.misplaced(root)
        if not is_sound and not self.is_modelkits:
            wrong.append(f"partial: {_sizes(found)}")
        if not is_sound and vouched is not None:
            wrong.append("a hit that is not whole")
        if vouched is not None and vouched == self.new != found:
            wrong.append("the new receipt beside the old data")
        if acknowledged and found != self.new:
            wrong.append(f"acknowledged and lost: {_sizes(found)}")
        if acknowledged and vouched != self.new:
            wrong.append("acknowledged and not marked")
        return wrong

    def after_the_next_run(self, root: Path) -> list[str]:
        """Start, do it again, and return what is wrong then: whole, marked, nothing left over."""
        wanted = self.old if self.new is None else self.new
        wrong = []
        with opened(root, _Settled()) as assets_dir:
            start(assets_dir)
            wrong += left_over(root, "trash")
            if self.new is None:
                self.bring_back(assets_dir)
            else:
                self.act(assets_dir)
        if not wanted == self.served(root) == self.vouched(root):
            wrong.append(f"not whole and marked after the next run: {_sizes(self.standing(root))}")
        return wrong + self.left_over(root) + self.misplaced(root)

    def standing(self, root: Path) -> Content | None:
        """Return what a reader finds who knows no marker."""
        return standing(root)

    def vouched(self, root: Path) -> Content | None:
        """Return what our receipt says that stands there; None = it is no hit."""
        with opened(root, _Settled()) as assets_dir:
            hit = Lookup(assets_dir).hit(PATHS)
        known = [content for content in (self.old, self.new) if content is not None]
        return next((content for content in known if receipt_of(content) == hit), None)

    def served(self, root: Path) -> Content | None:
        """Return what readers take for complete."""
        return modelkit_serves(root)

    def misplaced(self, root: Path) -> list[str]:
        """Return what is wrong beside the version itself."""
        marker = root / PATHS.marker(AssetKind.FILE)
        alone = marker.exists() and not (root / PATHS.data).exists()
        return ["a marker without data"] if alone else []

    def left_over(self, root: Path) -> list[str]:
        """Return what nobody needs any more and is there."""
        return left_over(root, "staging", "trash", "push")

    def bring_back(self, assets_dir: AssetsDir) -> None:
        """Fetch again what the operation took away."""
        assert self.old is not None
        land(assets_dir, self.old)


def start(assets_dir: AssetsDir) -> None:
    """Begin a run."""
    assert recover(assets_dir).writable


def delete_evicted(assets_dir: AssetsDir) -> None:
    """Delete what lies in the trash."""
    with assets_dir.folder(TRASH) as fd:
        names = [entry.name for entry in assets_dir.fs.list_names(fd)]
    for name in names:
        empty_trash(assets_dir, f"{TRASH}/{name}")


@contextmanager
def opened(root: Path, fs: FileSystem) -> Iterator[AssetsDir]:
    """ASSETS_DIR for the length of the block."""
    assets_dir = AssetsDir(str(root), fs)
    try:
        yield assets_dir
    finally:
        assets_dir.close()


def left_over(root: Path, *folders: str) -> list[str]:
    """Return what lies in folders of our own, and should not."""
    own = root / ".assetd"
    paths = [path for folder in folders for path in own.glob(f"{folder}/*")]
    return [f"left over: {path.relative_to(own)}" for path in paths]


def _sizes(content: Content | None) -> dict[str, int] | None:
    if content is None:
        return None
    return {path: len(data) for path, data in by_path(content).items()}


class _Settled(FileSystem):
    """For looking: what is looked at is not to be made durable by that."""

    def fsync(self, fd: int) -> None:
        os.fstat(fd)

    def syncfs(self, fd: int) -> None:
        os.fstat(fd)
