"""What a crash may interrupt: the operations of the cache, one by one.

A new one is an entry of `OPERATIONS`; what a flight does is in `flights`, and what has to hold
afterwards in `crash_judging`.
"""

import errno
from contextlib import suppress
from pathlib import Path

from assetd_server.cache.evict import Outcome, evict
from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.lookup import Lookup
from assetd_server.errors import IoError
from assetd_server.versioning import Version

from tests.support.crash_judging import Operation, delete_evicted, opened, start
from tests.support.crash_parts import evicting_parts, growing
from tests.support.file_systems import FaultyFileSystem
from tests.support.flights import interrupt, land
from tests.support.trees import write_tree
from tests.support.versions import PATHS, Content, marker_path, put, put_ours

# Old and new are equally long: sizes alone never tell them apart.
FILE, OLD_FILE = b"new content" * 500, b"old content" * 500
TREE = {"a": b"new a" * 300, "sub/b": b"new b", "sub/deep/c": b"", "sub/deep/d": b"new d" * 1000}
OLD_TREE = {path: data.replace(b"new", b"old") for path, data in TREE.items()}
# More than are synced one by one.
MANY = {f"folder{number % 2}/{number}": b"%03d" % number * 40 for number in range(18)}


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
    for name in (f"trash/{PATHS.key}", f"staging/{PATHS.key}/data", "push/.spool/1/0"):
        write_tree(root / ".assetd" / name, {"a": b"a", "sub/b": b"b"})


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
        growing("grow-first", TREE, ("a", "sub/b")),
        growing("grow-more", TREE, ("a", "sub/deep/d"), before=("sub/b",)),
        evicting_parts("evict-parts", TREE, ("a", "sub/deep/d")),
        Operation("start", start, FILE, FILE, prepare=fill_own_folders),
        Operation("start-after-evict", start, None, FILE, prepare=evict_half),
    )
}
