"""A version that shares parts with others in the cache: only what is new is downloaded."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from assetd_server.assets.orders import FetchCompleted, FetchProgress
from assetd_server.assets.progress import ProgressMeter
from assetd_server.assets.reusing import Finder, Reuse
from assetd_server.assets.threads import Threads
from assetd_server.cache.ingest import StagedVersion
from assetd_server.cache.layout import VersionPaths
from assetd_server.errors import DiskFullError
from assetd_server.manifest import Part
from assetd_server.model import AssetKind, PartPath, Source, Verification

from tests.support.assets_bench import RANGE_BYTES, Bench, Daemon, flip_byte, paths_of
from tests.support.clocks import ManualClock
from tests.support.trees import read_tree
from tests.support.versions import by_path, left_overs, part_of, put

OLD = {f"part{number}": bytes([number]) * 1000 * (number + 1) for number in range(10)}
NEW = {**OLD, "part4": b"new" * 3000}
SHARED_BYTES = sum(len(data) for path, data in OLD.items() if path != "part4")


@pytest.fixture
async def pushed(bench: Bench) -> None:
    """Two versions in the store that differ in one part of ten."""
    pusher = bench.daemon()
    await pusher.push("x/y", OLD)
    await pusher.push("x/y", NEW)


def standing(daemon: Daemon, version: str) -> dict[str, bytes]:
    """What stands at the final path."""
    return read_tree(daemon.root / "x/y" / version)


def links(daemon: Daemon) -> set[int]:
    """The numbers of links that the files of both versions have."""
    files = (path for path in (daemon.root / "x/y").rglob("part*") if path.is_file())
    return {file.stat().st_nlink for file in files}


@pytest.mark.usefixtures("pushed")
async def test_only_the_part_that_changed_is_downloaded(bench: Bench, daemon: Daemon) -> None:
    """`completed` says how many bytes came from where, and both versions stand alone."""
    await daemon.fetch("x/y:0.0")
    bench.store.calls.clear()
    events = await daemon.fetch("x/y:0.1")
    completed = events[-1]
    assert isinstance(completed, FetchCompleted)
    assert {key for kind, key in bench.store.calls if kind == "read"} == {"x/y/0.1/part4"}
    assert completed.transferred_bytes == len(NEW["part4"])
    assert completed.reused_bytes == SHARED_BYTES
    assert (completed.source, completed.verification) == (Source.STORE, Verification.CHECKSUM)
    assert (standing(daemon, "0.0"), standing(daemon, "0.1")) == (OLD, NEW)
    assert links(daemon) == {1}
    figures = [event.present_bytes for event in events if isinstance(event, FetchProgress)]
    assert figures == sorted(figures)


@pytest.mark.usefixtures("pushed")
async def test_a_version_of_which_all_is_here_is_from_the_cache(
    bench: Bench, daemon: Daemon
) -> None:
    """Not a byte comes from the store, whatever its parts are called there."""
    await daemon.fetch("x/y:0.0")
    await bench.daemon().push("x/y", {f"moved/{path}": data for path, data in OLD.items()})
    bench.store.calls.clear()
    completed = await daemon.fetched("x/y:0.2")
    assert bench.store.count("read") == 0
    assert (completed.source, completed.transferred_bytes) == (Source.CACHE, 0)
    assert completed.reused_bytes == sum(map(len, OLD.values()))


@pytest.mark.usefixtures("pushed")
async def test_damage_does_not_spread(bench: Bench, daemon: Daemon) -> None:
    """A rotten part of the old version is downloaded for the new one."""
    await daemon.fetch("x/y:0.0")
    flip_byte(daemon.root / "x/y/0.0/part7")
    bench.store.calls.clear()
    completed = await daemon.fetched("x/y:0.1")
    read = {key for kind, key in bench.store.calls if kind == "read"}
    assert read == {"x/y/0.1/part4", "x/y/0.1/part7"}
    assert completed.reused_bytes == SHARED_BYTES - len(OLD["part7"])
    assert standing(daemon, "0.1") == NEW


@pytest.mark.usefixtures("pushed")
async def test_what_is_missing_of_a_version_is_added(bench: Bench, daemon: Daemon) -> None:
    """Parts that an operator deleted come again, and only they."""
    await daemon.fetch("x/y:0.1")
    (daemon.root / "x/y/0.1/part2").unlink()
    bench.store.calls.clear()
    completed = await daemon.fetched("x/y:0.1")
    assert {key for kind, key in bench.store.calls if kind == "read"} == {"x/y/0.1/part2"}
    assert completed.transferred_bytes == len(NEW["part2"])
    assert standing(daemon, "0.1") == NEW


@pytest.mark.usefixtures("pushed")
async def test_a_forced_download_reuses_nothing(daemon: Daemon) -> None:
    """With `force_download` nothing is copied from another version.

    Who wants it downloaded anew gets it from the store.
    """
    await daemon.fetch("x/y:0.0")
    completed = await daemon.fetched("x/y:0.1", force_download=True)
    assert completed.transferred_bytes == sum(map(len, NEW.values()))
    assert completed.reused_bytes == 0


async def test_modelkits_versions_are_downloaded(bench: Bench, daemon: Daemon) -> None:
    """Without digests nothing says what is equal."""
    await bench.modelkit_pushes("x/y:0.0", OLD)
    await bench.modelkit_pushes("x/y:0.1", NEW)
    await daemon.fetch("x/y:0.0")
    completed = await daemon.fetched("x/y:0.1")
    assert (completed.transferred_bytes, completed.reused_bytes) == (
        sum(map(len, NEW.values())),
        0,
    )


@pytest.mark.usefixtures("pushed")
async def test_copied_parts_survive_an_interruption(bench: Bench, daemon: Daemon) -> None:
    """They are journalled like those that were downloaded, and need no source any more."""
    await daemon.fetch("x/y:0.0")
    gate = bench.store.pause("read", "part4")
    fetching = asyncio.create_task(daemon.fetch("x/y:0.1"))
    await gate.reached()
    fetching.cancel()
    await daemon.until_waiting(0)
    for path in OLD:
        (daemon.root / "x/y/0.0" / path).unlink()
    bench.store.calls.clear()
    completed = await daemon.fetched("x/y:0.1")
    assert {key for kind, key in bench.store.calls if kind == "read"} == {"x/y/0.1/part4"}
    assert completed.reused_bytes == SHARED_BYTES
    assert standing(daemon, "0.1") == NEW


async def test_files_share_as_well(bench: Bench, daemon: Daemon) -> None:
    """A file asset that was pushed again under another number is copied."""
    data = b"large" * RANGE_BYTES
    pusher = bench.daemon()
    await pusher.push("x/y", data)
    await daemon.fetch("x/y:0.0")
    await pusher.push("x/y:1.0", data)
    completed = await daemon.fetched("x/y:1.0")
    assert (completed.transferred_bytes, completed.reused_bytes) == (0, len(data))
    assert (daemon.root / "x/y/1.0").read_bytes() == data


@pytest.mark.usefixtures("pushed")
async def test_no_room_for_the_copies_gives_all_back(daemon: Daemon) -> None:
    """DISK_FULL, as for a download."""
    await daemon.fetch("x/y:0.0")
    daemon.fs.fail(3, 28, "clone")
    with pytest.raises(DiskFullError):
        await daemon.fetch("x/y:0.1")
    assert left_overs(daemon.root) == []


# The finders


async def test_finders_are_asked_in_their_order(daemon: Daemon) -> None:
    """Each for what those before it did not find; a large part is copied by itself."""
    large, small, other = b"l" * 70_000_000, b"s" * 10, b"o" * 10
    content = {"large": large, "other": other, "small": small}
    parts = [part_of(path, data) for path, data in by_path(content).items()]
    put(daemon.root, content, paths_of("elsewhere/x:0.0"))
    asked: list[list[str]] = []

    def finds(*known: str) -> Finder:
        def find(_: VersionPaths, wanted: Sequence[Part]) -> Mapping[PartPath, str]:
            asked.append([part.path for part in wanted])
            return {PartPath(path): f"elsewhere/x/0.0/{path}" for path in known}

        return find

    disk = Threads("test", 2)
    meter = ProgressMeter(ManualClock(), None, None)
    staged = StagedVersion(daemon.assets_dir, paths_of("x/y:0.0"), AssetKind.DIRECTORY, parts)
    finders = [finds("large"), finds("small", "large"), finds()]
    await Reuse(daemon.assets_dir, disk, finders).fill(staged, parts, meter)
    assert asked == [["large", "other", "small"], ["other", "small"], ["other"]]
    assert set(staged.kept) == {"large", "small"}
    assert meter.reused_bytes == len(large) + len(small)
    staged.discard()
    disk.close()
