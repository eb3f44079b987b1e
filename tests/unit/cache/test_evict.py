"""Eviction: in which order a version goes, who keeps it, and that no kill shows half of it.

The protocol is `layout.md`, "Evict". Every promise is tried at each call of the file system.
"""

import errno
import fcntl
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from assetd_server.cache.evict import Evicted, Outcome, empty_trash, evict
from assetd_server.cache.layout import TRASH, AssetsDir
from assetd_server.cache.leases import take_lease
from assetd_server.cache.lookup import Lookup, Standing
from assetd_server.cache.recover import recover
from assetd_server.errors import AssetError, IoError, UnsafePathError

from tests.support.assets_bench import flocked
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
    standing,
)

FILE = b"content"
TREE = {"a": b"one", "sub/b": b"two"}
both_kinds = pytest.mark.parametrize("content", [FILE, TREE], ids=["file", "directory"])


@pytest.fixture
def lookup(assets_dir: AssetsDir) -> Lookup:
    """What stands there."""
    recover(assets_dir)
    return Lookup(assets_dir)


def evicted(assets_dir: AssetsDir, lookup: Lookup, **how: object) -> Evicted:
    """Evict the one version."""
    return evict(assets_dir, lookup, PATHS, **how)  # type: ignore[arg-type]


@both_kinds
def test_an_evicted_version_is_gone(
    assets_dir: AssetsDir, lookup: Lookup, root: Path, content: Content
) -> None:
    """Neither data nor marker; what it was lies in the trash until that is emptied."""
    put_ours(root, content)
    result = evicted(assets_dir, lookup)
    assert result.outcome is Outcome.EVICTED
    assert not (root / PATHS.data).exists()
    assert not marker_path(root, content).exists()
    assert left_overs(root) == [result.trash.removeprefix(".assetd/")]
    empty_trash(assets_dir, result.trash)
    assert left_overs(root) == []


@both_kinds
def test_who_has_it_open_reads_on(
    assets_dir: AssetsDir, lookup: Lookup, root: Path, content: Content
) -> None:
    """An eviction writes nothing in place."""
    put_ours(root, content)
    file = root / PATHS.data if content is FILE else root / PATHS.data / "sub/b"
    with file.open("rb") as reader:
        empty_trash(assets_dir, evicted(assets_dir, lookup).trash)
        assert reader.read() == (FILE if content is FILE else b"two")


def test_the_order_of_a_file(
    assets_dir: AssetsDir, lookup: Lookup, root: Path, fs: FaultyFileSystem
) -> None:
    """The marker goes first, durably: no power cut leaves it without its data."""
    put_ours(root, FILE)
    fs.calls.clear()
    trash = evicted(assets_dir, lookup).trash
    changes = [str(call) for call in fs.named("unlink", "fsync", "rename")]
    marker = f"{PATHS.folder}/{PATHS.file_marker_leaf}"
    assert changes == [
        f"unlink {marker}",
        f"fsync {PATHS.folder}",
        f"rename {PATHS.data} -> {trash}",
        f"fsync {PATHS.folder}",
        f"fsync {TRASH}",
        f"unlink {trash}.evict",
    ]


def test_the_order_of_a_directory(
    assets_dir: AssetsDir, lookup: Lookup, root: Path, fs: FaultyFileSystem
) -> None:
    """One rename: its marker travels along, and nothing is deleted before that is durable."""
    put_ours(root, TREE)
    fs.calls.clear()
    trash = evicted(assets_dir, lookup).trash
    changes = [str(call) for call in fs.named("unlink", "fsync", "rename", "rmdir")]
    assert changes == [
        f"rename {PATHS.data} -> {trash}",
        f"fsync {PATHS.folder}",
        f"fsync {TRASH}",
    ]


@both_kinds
def test_both_locks_are_held_to_the_end(
    assets_dir: AssetsDir, lookup: Lookup, root: Path, fs: FaultyFileSystem, content: Content
) -> None:
    """At every change modelkit is kept away, and so is whoever would take a lease."""
    put_ours(root, content)
    free: list[str] = []
    marker = marker_path(root, content)

    def look() -> None:
        with flocked(root / f".cache/{PATHS.name}.lock", fcntl.LOCK_EX) as modelkits:
            free.extend(["modelkit's lock"] * modelkits)
        if (root / PATHS.data).exists():
            with flocked(root / PATHS.data, fcntl.LOCK_SH) as lease:
                free.extend(["a lease"] * lease)
        looked.append(marker.exists())

    looked: list[bool] = []
    fs.before("rename", look)
    if content is FILE:
        fs.before("unlink", look)
    assert evicted(assets_dir, lookup).outcome is Outcome.EVICTED
    assert free == []
    assert looked == ([True, False] if content is FILE else [True])
    with flocked(root / f".cache/{PATHS.name}.lock", fcntl.LOCK_EX) as free_again:
        assert free_again


# Who stays


@both_kinds
def test_a_leased_version_stays(
    assets_dir: AssetsDir, lookup: Lookup, root: Path, content: Content
) -> None:
    """Untouched, and without waiting; once the lease is over it can go."""
    put_ours(root, content)
    lease = take_lease(assets_dir, PATHS)
    assert lease is not None
    assert evicted(assets_dir, lookup) == Evicted(Outcome.LEASED)
    assert modelkit_serves(root) == content
    assert left_overs(root) == []
    lease.release()
    assert evicted(assets_dir, lookup).outcome is Outcome.EVICTED


@both_kinds
@pytest.mark.parametrize("marker", [None, b"", b"garbage", b'{"format": 99}'])
def test_what_has_no_receipt_of_ours_stays(
    assets_dir: AssetsDir, lookup: Lookup, root: Path, content: Content, marker: bytes | None
) -> None:
    """Modelkit's, unmarked, or a later release's: it is not known that a store has it."""
    put(root, content, marker=marker)
    assert evicted(assets_dir, lookup) == Evicted(Outcome.KEPT)
    assert standing(root) == content


def test_a_receipt_of_the_other_kind_is_none(
    assets_dir: AssetsDir, lookup: Lookup, root: Path
) -> None:
    """Somebody put a file where a folder stood, or the other way round."""
    put(root, FILE, marker=receipt_of(TREE).encode())
    assert evicted(assets_dir, lookup) == Evicted(Outcome.KEPT)
    assert standing(root) == FILE


def test_nothing_stands_there(assets_dir: AssetsDir, lookup: Lookup, root: Path) -> None:
    """Removed by hand before: nothing to do, and a marker that was forgotten stays."""
    assert evicted(assets_dir, lookup) == Evicted(Outcome.KEPT)
    put_ours(root, FILE)
    (root / PATHS.data).unlink()
    assert evicted(assets_dir, lookup) == Evicted(Outcome.KEPT)


def test_modelkit_at_work_is_not_waited_for(
    assets_dir: AssetsDir, lookup: Lookup, root: Path
) -> None:
    """Whoever holds modelkit's lock of the asset may be about to read what stands there."""
    put_ours(root, TREE)
    lock = root / f".cache/{PATHS.name}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    with flocked(lock, fcntl.LOCK_EX):
        assert evicted(assets_dir, lookup) == Evicted(Outcome.LOCKED)
    assert modelkit_serves(root) == TREE


def test_a_link_is_not_followed(assets_dir: AssetsDir, lookup: Lookup, root: Path) -> None:
    """What it leads to is not ours to remove."""
    outside = root.parent / "outside"
    outside.mkdir()
    (root / "some").mkdir()
    (root / "some/asset").symlink_to(outside)
    (outside / "0.1").write_bytes(FILE)
    with pytest.raises(UnsafePathError):
        evicted(assets_dir, lookup)
    assert (outside / "0.1").read_bytes() == FILE


@both_kinds
def test_the_last_word_is_asked_of_what_is_locked(
    assets_dir: AssetsDir, lookup: Lookup, root: Path, fs: FaultyFileSystem, content: Content
) -> None:
    """Another version that was put there between the choice and the lock stays."""
    put_ours(root, content)
    other = receipt_of(b"other bytes")
    before = lookup.look(PATHS).receipt

    def replace() -> None:
        (root / PATHS.data).rename(root / "aside")
        marker_path(root, content).unlink(missing_ok=True)
        put(root, b"other bytes", marker=other.encode())

    def is_wanted(looked: Standing) -> bool:
        return looked.receipt == before

    # The first lock is modelkit's, the second one is on the version.
    fs.before("flock", replace, number=2)
    assert evicted(assets_dir, lookup, is_wanted=is_wanted) == Evicted(Outcome.KEPT)
    assert modelkit_serves(root) == b"other bytes"


@pytest.mark.parametrize("content", [FILE, TREE], ids=["file", "directory"])
def test_a_kind_that_changed_before_the_lock_goes_by_its_own_steps(
    assets_dir: AssetsDir, lookup: Lookup, root: Path, fs: FaultyFileSystem, content: Content
) -> None:
    """Whatever is wanted is taken for what it is under the lock: no marker is left alone."""
    put_ours(root, content)
    other: Content = TREE if content is FILE else FILE

    def replace() -> None:
        (root / PATHS.data).rename(root / "aside")
        marker_path(root, content).unlink(missing_ok=True)
        put_ours(root, other)

    fs.before("flock", replace, number=2)
    assert evicted(assets_dir, lookup).outcome is Outcome.EVICTED
    assert not (root / PATHS.data).exists()
    assert not marker_path(root, other).exists()


@both_kinds
def test_what_is_removed_by_hand_meanwhile_is_not_ours_any_more(
    scratch: Path, content: Content
) -> None:
    """Before each call somebody may delete it: no marker stands without data, nothing is left."""
    number, finished = 0, False
    while not finished:
        number += 1
        root = scratch / str(number)
        root.mkdir()
        fs = FaultyFileSystem()
        assets_dir = AssetsDir(str(root), fs)
        recover(assets_dir)
        put_ours(root, content)

        def delete(root: Path = root) -> None:
            if (root / PATHS.data).exists():
                (root / PATHS.data).rename(root / "deleted")
            marker_path(root, content).unlink(missing_ok=True)

        before = len(fs.calls)
        fs.before_call(number, delete)
        try:
            result = evicted(assets_dir, Lookup(assets_dir))
            assert result.outcome in (Outcome.EVICTED, Outcome.KEPT)
        except AssetError:
            pass
        finished = len(fs.calls) - before < number
        fs.heal()
        assert finished or not (root / PATHS.data).exists()
        assert not marker_path(root, content).exists() or (root / PATHS.data).exists()
        recover(assets_dir)
        assert left_overs(root) == []
        assets_dir.close()
        assert fs.open_paths == []
    assert number > 10


# Killed, failing, full


@dataclass(frozen=True)
class Run:
    """One eviction that met something: where, and whether it said that the version is gone."""

    root: Path
    fs: FaultyFileSystem
    assets_dir: AssetsDir
    said_evicted: bool


def each_call(
    scratch: Path, content: Content, plan: Callable[[FaultyFileSystem, int], None]
) -> Iterator[Run]:
    """Evict once for each call of an eviction, with something that happens at that call."""
    number, finished = 0, False
    while not finished:
        number += 1
        root = scratch / str(number)
        lock = root / f".cache/{PATHS.name}.lock"
        lock.parent.mkdir(parents=True)
        lock.touch()
        fs = FaultyFileSystem()
        assets_dir = AssetsDir(str(root), fs)
        recover(assets_dir)
        put_ours(root, content)
        before, said = len(fs.calls), False
        plan(fs, number)
        with suppress(AssetError, Stopped):
            said = evicted(assets_dir, Lookup(assets_dir)).outcome is Outcome.EVICTED
        finished = len(fs.calls) - before < number
        fs.heal()
        yield Run(root, fs, assets_dir, said)
    assert number > 15
    assert said


def require_marker_with_data(root: Path, content: Content) -> None:
    """Check that no marker stands without its data, and that what is served is whole."""
    marker = marker_path(root, content)
    assert not marker.exists() or standing(root) == content
    assert modelkit_serves(root) in (None, content)


@both_kinds
@pytest.mark.parametrize("with_store", [True, False])
def test_a_kill_at_any_call_shows_no_half(
    scratch: Path, content: Content, with_store: bool
) -> None:
    """At whatever call of an eviction a kill comes, there is never a marker without its data.

    The next start finishes what was begun, or it never was; without a store nothing is dropped.

    Never is there a marker without data, before the start or after it.
    """
    finished = 0
    for run in each_call(scratch, content, FaultyFileSystem.stop):
        root = run.root
        require_marker_with_data(root, content)
        served, stands = modelkit_serves(root), standing(root)
        if run.said_evicted:
            run.assets_dir.close()
            assert stands is None
        successor = AssetsDir(str(root), FaultyFileSystem())
        assert recover(successor, with_store=with_store).writable
        require_marker_with_data(root, content)
        assert modelkit_serves(root) == served
        assert standing(root) == (served if with_store else stands)
        finished += standing(root) != stands
        assert left_overs(root) == []
        successor.close()
    # Where a file's marker is gone and its data is not, there is something to finish.
    assert bool(finished) is (with_store and content is FILE)


@both_kinds
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EROFS])
def test_a_failure_at_any_call_shows_no_half(scratch: Path, content: Content, code: int) -> None:
    """It is told or made good; nothing is open, locked or half there, and it can be tried again."""
    for run in each_call(scratch, content, lambda fs, number: fs.fail(number, code)):
        root = run.root
        require_marker_with_data(root, content)
        assert not run.said_evicted or standing(root) is None
        assert run.fs.open_paths == [""]
        with flocked(root / f".cache/{PATHS.name}.lock", fcntl.LOCK_EX) as free:
            assert free
        if modelkit_serves(root) is not None:
            again = evicted(run.assets_dir, Lookup(run.assets_dir))
            assert again.outcome is Outcome.EVICTED
        recover(run.assets_dir)
        assert standing(root) is None
        assert left_overs(root) == []
        run.assets_dir.close()


def test_a_full_disk_can_be_emptied(
    assets_dir: AssetsDir, lookup: Lookup, root: Path, fs: FaultyFileSystem
) -> None:
    """No room for the note that a kill would be mended by: evicting is what makes room."""
    put_ours(root, FILE)
    assert evict(assets_dir, lookup, PATHS, lambda _: False) == Evicted(Outcome.KEPT)
    fs.fail(2, errno.ENOSPC, "create")
    assert evicted(assets_dir, lookup).outcome is Outcome.EVICTED
    assert not (root / PATHS.data).exists()


def note_of(root: Path, fs: FaultyFileSystem, assets_dir: AssetsDir, lookup: Lookup) -> Path:
    """Leave an eviction right before its rename; return the note that it left."""
    put_ours(root, FILE)

    def die() -> None:
        raise IoError("killed")

    fs.before("rename", die)
    with pytest.raises(IoError):
        evicted(assets_dir, lookup)
    [note] = (root / TRASH).iterdir()
    assert standing(root) == FILE
    return note


@pytest.mark.parametrize("what", ["marked", "replaced", "leased", "locked", "torn", "foreign"])
def test_what_is_not_what_the_eviction_left_stays(
    assets_dir: AssetsDir, lookup: Lookup, root: Path, fs: FaultyFileSystem, what: str
) -> None:
    """Somebody marked it, wrote there, uses it, or the note says nothing: the start leaves it."""
    note = note_of(root, fs, assets_dir, lookup)
    inode = (root / PATHS.data).stat().st_ino
    busy = root / PATHS.data
    if what == "marked":
        marker_path(root, FILE).touch()
    elif what == "replaced":
        (root / "new").write_bytes(FILE)
        (root / "new").rename(root / PATHS.data)
    elif what == "locked":
        busy = root / f".cache/{PATHS.name}.lock"
    elif what in ("torn", "foreign"):
        note.write_bytes(b"" if what == "torn" else f"{inode} ../.. x\n".encode())
    lock = fcntl.LOCK_SH if what in ("leased", "locked") else fcntl.LOCK_UN
    with flocked(busy, lock):
        recover(assets_dir)
    assert standing(root) == FILE
    assert left_overs(root) == []


def test_a_note_that_cannot_be_acted_on_is_no_reason_not_to_start(
    assets_dir: AssetsDir, lookup: Lookup, root: Path, fs: FaultyFileSystem
) -> None:
    """No room for modelkit's lock, or a link in the way: the start goes on."""
    note_of(root, fs, assets_dir, lookup)
    fs.fail(1, errno.ENOSPC, "create")
    assert recover(assets_dir).writable
    assert standing(root) == FILE
    marker_path(root, FILE).write_bytes(receipt_of(FILE).encode())
    note_of(root, fs, assets_dir, lookup)
    (root / "some").rename(root / "elsewhere")
    (root / "some").symlink_to(root / "elsewhere")
    assert recover(assets_dir).writable
    assert (root / "elsewhere/asset/0.1").read_bytes() == FILE


def test_trash_that_cannot_be_emptied_waits_for_the_next_start(
    assets_dir: AssetsDir, lookup: Lookup, root: Path, fs: FaultyFileSystem
) -> None:
    """Nobody is told: the version is gone all the same."""
    put_ours(root, TREE)
    trash = evicted(assets_dir, lookup).trash
    fs.fail(1, errno.EIO, "unlink")
    empty_trash(assets_dir, trash)
    assert left_overs(root) != []
    recover(assets_dir)
    assert left_overs(root) == []


def test_a_marker_alone_is_noticed(root: Path) -> None:
    """The harness is believed because it fails where it has to."""
    put_ours(root, FILE)
    (root / PATHS.data).unlink()
    with pytest.raises(AssertionError):
        require_marker_with_data(root, FILE)
