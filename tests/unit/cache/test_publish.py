"""From staging to the final path: the order of the steps, and what every fault leaves behind."""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.leases import take_lease
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.publish import ModelkitLock, Publisher, try_modelkit_lock
from assetd_server.cache.receipt import Marker
from assetd_server.cache.recover import recover
from assetd_server.errors import (
    AssetError,
    AssetInUseError,
    DiskFullError,
    IoError,
    UnsafePathError,
)
from assetd_server.model import AssetKind, AssetName

from tests.support.file_systems import FaultyFileSystem, Stopped
from tests.support.versions import (
    PATHS,
    Content,
    left_overs,
    marker_path,
    modelkit_serves,
    put,
    put_ours,
    receipt_of,
    stage,
    standing,
)

FILE, OLD_FILE = b"new content", b"old"
TREE, OLD_TREE = {"a": b"new a", "sub/b": b"new b"}, {"a": b"old", "sub/c": b"old c"}
MARKERS = {".SUCCESS", ".0.1.SUCCESS"}


def lock_of(assets_dir: AssetsDir) -> ModelkitLock:
    """Modelkit's lock, which nobody else has."""
    lock = try_modelkit_lock(assets_dir, PATHS)
    assert lock is not None
    return lock


def publish(assets_dir: AssetsDir, content: Content) -> Lookup:
    """Stage and publish, as a flight does."""
    lookup = Lookup(assets_dir)
    staged = stage(assets_dir, content)
    try:
        lock = lock_of(assets_dir)
        try:
            Publisher(assets_dir, lookup).publish(staged, receipt_of(content))
        finally:
            lock.release()
    finally:
        staged.discard()
    return lookup


def adopt(assets_dir: AssetsDir, content: Content) -> Lookup:
    """Mark what stands there, as a flight does."""
    lookup = Lookup(assets_dir)
    lock = lock_of(assets_dir)
    try:
        Publisher(assets_dir, lookup).adopt(PATHS, receipt_of(content))
    finally:
        lock.release()
    return lookup


def nothing(root: Path) -> None:
    """The version does not stand there yet."""


@dataclass(frozen=True)
class Scene:
    """What stands there, what is done, and what then has to stand there."""

    prepare: Callable[[Path], None]
    act: Callable[[AssetsDir, Content], Lookup]
    old: Content | None
    new: Content

    def run(self, assets_dir: AssetsDir) -> Lookup:
        return self.act(assets_dir, self.new)


def ours(content: Content) -> Callable[[Path], None]:
    """A version that an earlier run published."""
    return lambda root: put_ours(root, content)


def unmarked(content: Content) -> Callable[[Path], None]:
    """A version that modelkit wrote and was killed before it marked it."""
    return lambda root: put(root, content)


def marked(content: Content) -> Callable[[Path], None]:
    """A version that modelkit fetched."""
    return lambda root: put(root, content, marker=b"")


SCENES = {
    "file": Scene(nothing, publish, None, FILE),
    "directory": Scene(nothing, publish, None, TREE),
    "file-over-file": Scene(ours(OLD_FILE), publish, OLD_FILE, FILE),
    "directory-over-directory": Scene(ours(OLD_TREE), publish, OLD_TREE, TREE),
    "file-over-directory": Scene(ours(OLD_TREE), publish, OLD_TREE, FILE),
    "directory-over-file": Scene(ours(OLD_FILE), publish, OLD_FILE, TREE),
    "adopt-file": Scene(unmarked(FILE), adopt, FILE, FILE),
    "adopt-directory": Scene(marked(TREE), adopt, TREE, TREE),
}
every_scene = pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
every_replacement = pytest.mark.parametrize(
    "scene",
    [scene for scene in SCENES.values() if scene.old and scene.act is publish],
    ids=[name for name, scene in SCENES.items() if scene.old and scene.act is publish],
)


@every_scene
def test_what_was_published_is_served_by_everybody(
    assets_dir: AssetsDir, root: Path, scene: Scene
) -> None:
    """By modelkit with a store and without one, and by us, in this run and the next."""
    scene.prepare(root)
    lookup = scene.run(assets_dir)
    assert standing(root) == scene.new
    assert modelkit_serves(root) == scene.new
    assert lookup.hit(PATHS) == Lookup(assets_dir).hit(PATHS) == receipt_of(scene.new)
    assert left_overs(root) == []
    markers = {path for path in (root / PATHS.folder).rglob("*") if path.name in MARKERS}
    assert markers == {marker_path(root, scene.new)}


@contextmanager
def opened(root: Path, fs: FaultyFileSystem) -> Iterator[AssetsDir]:
    """ASSETS_DIR for the length of the block, which has to leave no descriptor of it open."""
    assets_dir = AssetsDir(str(root), fs)
    try:
        yield assets_dir
    finally:
        fs.heal()
        assets_dir.close()
    assert fs.open_paths == []


def every_root(scene: Scene, scratch: Path) -> Iterator[tuple[int, Path]]:
    """A prepared ASSETS_DIR for each call that the scene makes, and the call's number."""
    counted = scratch / "0"
    counted.mkdir()
    scene.prepare(counted)
    fs = FaultyFileSystem()
    with opened(counted, fs) as assets_dir:
        fs.calls.clear()
        scene.run(assets_dir)
        count = len(fs.calls)
    assert count > 20
    for number in range(1, count + 1):
        root = scratch / str(number)
        root.mkdir()
        scene.prepare(root)
        yield number, root
        shutil.rmtree(root)


def require_whole(root: Path, scene: Scene) -> None:
    """Check invariants 1, 4 and 6: nothing partial, nothing mixed, no hit that is not one."""
    found = standing(root)
    assert found in (scene.old, scene.new)
    with opened(root, FaultyFileSystem()) as assets_dir:
        looked = Lookup(assets_dir).hit(PATHS)
    assert looked in (None, receipt_of(scene.new)) or looked == receipt_of(scene.old or b"")
    assert looked is None or found is not None


def failure_of(scene: Scene, assets_dir: AssetsDir) -> AssetError | None:
    """Run the scene and return what it raised."""
    try:
        scene.run(assets_dir)
    except AssetError as error:
        return error
    return None


@every_scene
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
def test_a_failure_at_any_call_shows_nothing_partial(
    scratch: Path, scene: Scene, code: int
) -> None:
    """The caller gets a typed error, what stood there stands there, and the next try succeeds."""
    expected = DiskFullError if code == errno.ENOSPC else IoError
    failures = 0
    for number, root in every_root(scene, scratch):
        fs = FaultyFileSystem()
        with opened(root, fs) as assets_dir:
            fs.fail(number, code)
            failure = failure_of(scene, assets_dir)
            assert type(failure) in (expected, type(None)), fs.calls[number]
            failures += failure is not None
        require_whole(root, scene)
        with opened(root, FaultyFileSystem()) as assets_dir:
            assert scene.run(assets_dir).hit(PATHS) == receipt_of(scene.new)
        assert modelkit_serves(root) == scene.new
    # Closing a lock, and hints, may fail without harm; hardly anything else.
    assert failures > number * 3 / 4


@every_scene
def test_a_failure_at_any_call_gives_the_space_back(scratch: Path, scene: Scene) -> None:
    """A version that is not shown leaves nothing behind; all else is gone with the next start."""
    for number, root in every_root(scene, scratch):
        fs = FaultyFileSystem()
        with opened(root, fs) as assets_dir:
            fs.fail(number, errno.EIO)
            with suppress(IoError):
                scene.run(assets_dir)
            fs.heal()
            shown = Lookup(assets_dir).hit(PATHS) == receipt_of(scene.new)
            if standing(root) == scene.old and not shown:
                assert left_overs(root) == [], number
        with opened(root, FaultyFileSystem()) as assets_dir:
            assert recover(assets_dir).writable
        assert left_overs(root) == []


@every_scene
def test_a_kill_at_any_call_is_mended_by_the_next_run(scratch: Path, scene: Scene) -> None:
    """Whatever call a kill comes at, the next start and fetch make the version whole.

    Nothing partial is visible to whoever comes meanwhile.
    """
    for number, root in every_root(scene, scratch):
        fs = FaultyFileSystem()
        assets_dir = AssetsDir(str(root), fs)
        fs.stop(number)
        with pytest.raises(Stopped):
            scene.run(assets_dir)
        require_whole(root, scene)
        with opened(root, FaultyFileSystem()) as restarted:
            assert recover(restarted).writable
            assert left_overs(root) == []
            require_whole(root, scene)
            assert scene.run(restarted).hit(PATHS) == receipt_of(scene.new)
        assert modelkit_serves(root) == scene.new
        assert left_overs(root) == []


def index(fs: FaultyFileSystem, *texts: str) -> int:
    """The number of the only call that reads like this."""
    found = [i for i, call in enumerate(fs.calls) if all(text in str(call) for text in texts)]
    assert len(found) == 1, (texts, list(map(str, fs.calls)))
    return found[0]


def indexes(fs: FaultyFileSystem, text: str) -> list[int]:
    """The numbers of the calls that read exactly like this."""
    return [i for i, call in enumerate(fs.calls) if str(call) == text]


@pytest.mark.parametrize("prepare", [nothing, ours(OLD_FILE)], ids=["new", "replaced"])
def test_the_order_of_a_file(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem, prepare: Callable[[Path], None]
) -> None:
    """File synced, renamed, folder synced, receipt renamed, folder synced; no unlink at all."""
    prepare(root)
    publish(assets_dir, FILE)
    data = index(fs, "rename ", f"/data -> {PATHS.data}")
    receipt = index(fs, "rename ", f"/receipt -> {PATHS.marker(AssetKind.FILE)}")
    synced = indexes(fs, f"fsync .assetd/staging/{PATHS.key}/data")
    synced_receipt = indexes(fs, f"fsync .assetd/staging/{PATHS.key}/receipt")
    folder = indexes(fs, f"fsync {PATHS.folder}")
    assert max(synced + synced_receipt) < data
    assert any(data < i < receipt for i in folder)
    assert any(i > receipt for i in folder)
    assert [call for call in fs.named("unlink") if ".assetd" not in call.paths[0]] == []


def test_the_order_of_a_directory(assets_dir: AssetsDir, fs: FaultyFileSystem) -> None:
    """All of it is synced in staging, the marker too; one rename shows it, then the folder."""
    publish(assets_dir, TREE)
    shown = index(fs, "rename_noreplace", f"-> {PATHS.data}")
    staged = f"fsync .assetd/staging/{PATHS.key}/data"
    for inside in ("", "/a", "/sub", "/sub/b", "/.SUCCESS"):
        assert max(indexes(fs, staged + inside)) < shown
    assert any(i > shown for i in indexes(fs, f"fsync {PATHS.folder}"))


@every_scene
def test_every_new_parent_is_durable_before_the_version(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem, scene: Scene
) -> None:
    """A version in a folder that a power cut takes away is lost, whoever made the folder."""
    scene.prepare(root)
    scene.run(assets_dir)
    if scene.act is adopt:
        shown = index(fs, "rename", "SUCCESS")
        assert min(i for i, call in enumerate(fs.calls) if call.name == "syncfs") < shown
    else:
        shown = min(
            i
            for i, call in enumerate(fs.calls)
            if call.paths[-1] == PATHS.data and call.name.startswith("rename")
        )
        for parent in ("", "some"):
            assert any(i < shown for i in indexes(fs, f"fsync {parent}"))


@pytest.mark.parametrize(
    "name", ["directory-over-directory", "file-over-directory", "directory-over-file"]
)
def test_the_old_tree_is_kept_until_the_exchange_is_durable(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem, name: str
) -> None:
    """By way of the trash; a power cut may undo an exchange, and then the old tree is whole."""
    scene = SCENES[name]
    scene.prepare(root)
    scene.run(assets_dir)
    aside = index(fs, "rename ", "/data -> .assetd/trash/")
    exchanged = index(fs, "rename_exchange .assetd/trash/", f"-> {PATHS.data}")
    synced = min(i for i in indexes(fs, f"fsync {PATHS.folder}") if i > exchanged)
    deleted = [
        i
        for i, call in enumerate(fs.calls)
        if call.name in ("unlink", "rmdir") and call.paths[0].startswith(".assetd/trash/")
    ]
    assert aside < exchanged < synced < min(deleted)


def test_adopting_syncs_what_modelkit_did_not(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem
) -> None:
    """The receipt is written only once the data that it vouches for is durable."""
    put(root, TREE, marker=b"")
    adopt(assets_dir, TREE)
    synced = indexes(fs, "syncfs ")
    marked_at = index(fs, "rename ", f"-> {PATHS.data}/.SUCCESS")
    assert max(synced) < marked_at
    after = {str(call) for call in fs.calls[marked_at:]}
    assert {f"fsync {PATHS.data}", f"fsync {PATHS.folder}"} <= after


def deleted_in(folder: Path, name: str) -> None:
    """Delete by hand, later than the kernel's clock takes two times for one."""
    (folder / name).unlink()
    os.utime(folder, ns=(1, 1))


@pytest.mark.parametrize(("act", "call"), [(adopt, "syncfs"), (adopt, "rmdir"), (publish, "rmdir")])
def test_what_is_deleted_by_hand_meanwhile_is_no_hit(
    assets_dir: AssetsDir,
    root: Path,
    fs: FaultyFileSystem,
    act: Callable[[AssetsDir, Content], Lookup],
    call: str,
) -> None:
    """In this run as in any later one: what was looked at before the deletion is not trusted."""
    if act is adopt:
        put(root, TREE)
    fs.before(call, lambda: deleted_in(root / PATHS.data / "sub", "b"))
    lookup = act(assets_dir, TREE)
    assert not (root / PATHS.data / "sub/b").exists()
    assert lookup.hit(PATHS) is None


def test_the_first_hit_of_what_was_published_looks_at_no_part(
    assets_dir: AssetsDir, fs: FaultyFileSystem
) -> None:
    """Showing a version changes nothing inside of it: what was checked in staging stays checked."""
    lookup = publish(assets_dir, TREE)
    fs.calls.clear()
    assert lookup.hit(PATHS) == receipt_of(TREE)
    assert not any(str(call).endswith(("/a", "/sub/b")) for call in fs.calls)


def test_a_held_lock_of_modelkit_is_waited_for_by_the_caller(
    assets_dir: AssetsDir, root: Path
) -> None:
    """None, and no descriptor left; free again, it is ours, and released for modelkit."""
    lock_path = root / ".cache/some/asset.lock"
    lock_path.parent.mkdir(parents=True)
    fd = os.open(lock_path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert try_modelkit_lock(assets_dir, PATHS) is None
    fcntl.flock(fd, fcntl.LOCK_UN)
    lock = lock_of(assets_dir)
    with pytest.raises(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock.release()
    lock.release()
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)
    assert lock_path.exists()


def test_an_unlinked_lock_is_noticed(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem
) -> None:
    """Some versions of filelock unlink on release: a lock on such a file keeps nobody out."""
    path = root / ".cache/some/asset.lock"
    fs.before("flock", path.unlink)
    lock = lock_of(assets_dir)
    fd = os.open(path, os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)
    lock.release()
    assert len(fs.named("flock")) == 2


def test_a_lock_that_closes_badly_is_released(assets_dir: AssetsDir, fs: FaultyFileSystem) -> None:
    """What was published stays published, whatever the system says of the lock's descriptor."""
    lock = lock_of(assets_dir)
    fs.fail(1, errno.EIO, "close")
    lock.release()
    lock_of(assets_dir).release()


@every_replacement
def test_what_is_leased_is_left_alone(assets_dir: AssetsDir, root: Path, scene: Scene) -> None:
    """ASSET_IN_USE, and not a byte or an inode of it changes; afterwards it can be replaced."""
    scene.prepare(root)
    before = (root / PATHS.data).stat().st_ino
    lease = take_lease(assets_dir, PATHS)
    assert lease is not None
    with pytest.raises(AssetInUseError):
        scene.run(assets_dir)
    assert (root / PATHS.data).stat().st_ino == before
    assert modelkit_serves(root) == scene.old
    assert left_overs(root) == []
    lease.release()
    scene.run(assets_dir)
    assert modelkit_serves(root) == scene.new


@every_scene
def test_what_a_later_release_stored_is_left_alone(
    assets_dir: AssetsDir, root: Path, scene: Scene
) -> None:
    """Its receipt may say what we cannot read: refused, untouched, named."""
    stands = scene.old or OLD_FILE
    put(root, stands, marker=b'{"format": 2, "kind": "other"}')
    with pytest.raises(UnsafePathError, match=r"some/asset:0\.1"):
        scene.run(assets_dir)
    assert standing(root) == stands
    assert Lookup(assets_dir).look(PATHS).marker is Marker.NEWER
    assert left_overs(root) == []


@pytest.mark.parametrize("new", [FILE, TREE], ids=["file", "directory"])
def test_data_that_an_operator_removes_meanwhile_is_replaced(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem, new: Content
) -> None:
    """A directory that vanishes between the look and the exchange leaves its place free."""
    put_ours(root, OLD_TREE)

    def remove() -> None:
        (root / PATHS.data).rename(root / "gone")

    fs.before("rename_exchange", remove)
    publish(assets_dir, new)
    assert modelkit_serves(root) == new
    assert left_overs(root) == []


def test_readers_keep_the_old_file(assets_dir: AssetsDir, root: Path) -> None:
    """Nothing at a final path is written in place: an open file keeps its bytes."""
    put_ours(root, OLD_FILE)
    with (root / PATHS.data).open("rb") as reader:
        publish(assets_dir, FILE)
        assert reader.read() == OLD_FILE


def test_a_name_that_modelkit_cannot_lock_needs_no_lock(assets_dir: AssetsDir) -> None:
    """`<name>.lock` of 255 bytes fits in no folder, so modelkit fetches no such asset."""
    for length in (250, 251, 255):
        paths = VersionPaths(AssetName("a" * length), PATHS.version)
        lock = try_modelkit_lock(assets_dir, paths)
        assert lock is not None
        assert (paths.modelkit_lock is None) is (length > 250)
        lock.release()
        lock.release()
