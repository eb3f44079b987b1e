"""Beside pushers that write indexes blindly: what they drop is listed again."""

import json

import pytest
from assetd_server.errors import StoreUnavailableError

from tests.support.assets_bench import Bench, Daemon, paths_of

HOUR_SECONDS = 3600.0
# When the first look is due.
SOON_SECONDS = 5.0
INDEX = "x/y.versions"


async def write_blindly(bench: Bench, *versions: str) -> None:
    """Write an index as modelkit does, which has read it some time ago."""
    await bench.memory.put(INDEX, json.dumps({"versions": versions}).encode())


async def look(daemon: Daemon, after_seconds: float) -> None:
    """Let time pass, and have the daemon do what is due."""
    daemon.clock.advance(after_seconds)
    await daemon.assets.look_again()


async def test_what_was_dropped_is_listed_again(bench: Bench, daemon: Daemon) -> None:
    """What modelkit has listed meanwhile stays too."""
    await daemon.push("x/y", b"0")
    await daemon.push("x/y", b"1")
    # The looks begin anew when it was listed again.
    for after_seconds in (SOON_SECONDS, SOON_SECONDS, HOUR_SECONDS, SOON_SECONDS):
        await write_blindly(bench, "1.0")
        bench.store.calls.clear()
        await look(daemon, after_seconds)
        assert await bench.listed("x/y") == ["1.0", "0.1", "0.0"]
        assert bench.store.count("swap", INDEX) == 1


async def test_an_index_that_is_gone_is_written_again(bench: Bench, daemon: Daemon) -> None:
    """With all that exists."""
    await bench.modelkit_pushes("x/y:0.0", b"0")
    await daemon.push("x/y", b"1")
    await bench.memory.delete(INDEX)
    await look(daemon, SOON_SECONDS)
    assert await bench.listed("x/y") == ["0.1", "0.0"]


async def test_nothing_is_written_where_all_is_listed(bench: Bench, daemon: Daemon) -> None:
    """And it is read less and less often, and some day not at all."""
    await daemon.push("x/y", b"0")
    bench.store.calls.clear()
    read_after_seconds, after_seconds = [], 0.0
    while after_seconds < 3 * HOUR_SECONDS:
        await look(daemon, 1.0)
        after_seconds += 1.0
        if bench.store.calls:
            assert bench.store.calls == [("get", INDEX)]
            bench.store.calls.clear()
            read_after_seconds.append(after_seconds)
    assert read_after_seconds == [5.0 * 2**number for number in range(11)]


async def test_what_was_deleted_by_hand_stays_so(bench: Bench, daemon: Daemon) -> None:
    """A version without a manifest does not exist, and is not listed for having existed."""
    await daemon.push("x/y", b"0")
    await daemon.push("x/y", b"1")
    paths = paths_of("x/y:0.1")
    await bench.memory.delete(paths.data)
    await bench.memory.delete(f"{paths.data}.meta")
    await write_blindly(bench, "0.0")
    await look(daemon, SOON_SECONDS)
    assert await bench.listed("x/y") == ["0.0"]


async def test_one_index_that_cannot_be_read_is_no_other_s_trouble(
    bench: Bench, daemon: Daemon
) -> None:
    """It is looked at again when that is due, as when the store was away."""
    await daemon.push("x/a", b"0")
    await daemon.push("x/y", b"0")
    await write_blindly(bench)
    whole = await bench.store.bytes_of("x/a.versions")
    await bench.memory.put("x/a.versions", b"half of an ind")
    await look(daemon, SOON_SECONDS)
    assert await bench.listed("x/y") == ["0.0"]
    await bench.memory.put("x/a.versions", whole)
    await write_blindly(bench)
    bench.store.go_down()
    with pytest.raises(StoreUnavailableError):
        await look(daemon, SOON_SECONDS)
    bench.store.come_back()
    await look(daemon, 2 * SOON_SECONDS)
    assert await bench.listed("x/y") == ["0.0"]
