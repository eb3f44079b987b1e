"""One eviction: what the store has to say first, and who in the daemon is asked."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from assetd_server.assets.cache_orders import EvictOutcome
from assetd_server.errors import StoreAccessDeniedError, StoreUnavailableError
from assetd_server.spec import Spec

from tests.support.assets_bench import Bench, Daemon, paths_of
from tests.support.limited import evict, filled, outcomes, present
from tests.support.versions import put

TREE = {"a": b"1" * 60, "b/c": b"2" * 40}
GONE = {"x/y:0.0": EvictOutcome.EVICTED}


@pytest.fixture
async def cached(daemon: Daemon) -> Daemon:
    """A daemon with one folder in its cache."""
    await daemon.push("x/y", TREE)
    await daemon.fetch("x/y:0.0")
    return daemon


Change = Callable[[Bench], Awaitable[object]]


@pytest.mark.parametrize(
    "change",
    [
        lambda bench: bench.memory.delete("x/y/0.0.meta"),
        lambda bench: bench.memory.delete("x/y/0.0/a"),
        lambda bench: bench.memory.put("x/y/0.0/b/c", b"shorter"),
        lambda bench: bench.memory.put("x/y/0.0.meta", b"not a manifest"),
        lambda bench: bench.modelkit_pushes("x/y:0.0", {"a": b"1" * 60}),
        lambda bench: bench.modelkit_pushes("x/y:0.0", b"a file now"),
        lambda bench: bench.modelkit_pushes("x/y:0.0", {"a": b"1" * 61, "b/c": b"2" * 40}),
    ],
    ids=["no manifest", "a part less", "shorter", "damaged", "fewer parts", "a file", "longer"],
)
async def test_only_the_very_version_can_be_given_back(
    bench: Bench, cached: Daemon, change: Change
) -> None:
    """Whatever the store lacks or has otherwise: the copy here may be the last one, and stays."""
    await change(bench)
    assert await evict(cached) == []
    assert present(cached) == ["x/y:0.0"]


async def test_another_digest_is_another_version(bench: Bench, cached: Daemon) -> None:
    """Of the same sizes, but pushed anew with other bytes."""
    for key in [key for key in bench.memory.keys if key.startswith(("x/y", ".assetd/claims/x/y"))]:
        await bench.memory.delete(key)
    await bench.daemon().push("x/y", {"a": b"9" * 60, "b/c": b"2" * 40})
    assert await evict(cached) == []
    assert present(cached) == ["x/y:0.0"]


async def test_modelkits_manifest_confirms_by_sizes(bench: Bench, daemon: Daemon) -> None:
    """It has nothing else; what we fetched from it can be fetched again."""
    await bench.modelkit_pushes("m/y:0.0", TREE)
    await daemon.fetch("m/y:0.0")
    assert outcomes(await evict(daemon)) == {"m/y:0.0": EvictOutcome.EVICTED}
    assert present(daemon) == []


@pytest.mark.parametrize("error", [StoreUnavailableError, StoreAccessDeniedError])
@pytest.mark.parametrize("operation", ["get", "list"])
async def test_a_store_that_does_not_say_keeps_everything(
    bench: Bench, cached: Daemon, error: type[Exception], operation: str
) -> None:
    """No answer is not a no, and not a yes either."""
    bench.store.fail(operation, error=error("the store said nothing"), times=99)
    with pytest.raises(error):
        await evict(cached)
    assert present(cached) == ["x/y:0.0"]
    bench.store.come_back()
    assert outcomes(await evict(cached)) == GONE


@pytest.mark.parametrize("what", ["pinned", "fetched", "replaced", "deleted"])
async def test_what_changes_while_the_store_is_asked_counts(
    bench: Bench, cached: Daemon, what: str
) -> None:
    """The answer takes its time; who is pinned, used, or another by then stays."""
    gate = bench.store.pause("get", "x/y/0.0.meta")
    evicting = asyncio.create_task(evict(cached))
    await gate.reached()
    reading = bench.store.pause("read", "x/y/0.0/a")
    tasks = []
    if what == "pinned":
        await cached.assets.pin(Spec.parse("x/y:0.0"))
    elif what == "fetched":
        tasks.append(asyncio.create_task(cached.fetch("x/y:0.0", force_download=True)))
        await reading.reached()
    else:
        (cached.root / "x/y/0.0").rename(cached.root / "aside")
        if what == "replaced":
            put(cached.root, {"other": b"bytes"}, paths_of("x/y:0.0"), marker=b"")
    gate.open()
    told = {"pinned": EvictOutcome.PINNED, "fetched": EvictOutcome.LEASED}
    assert list(outcomes(await evicting).values()) == ([told[what]] if what in told else [])
    reading.open()
    await asyncio.gather(*tasks)
    assert (cached.root / "x/y/0.0").exists() is (what != "deleted")


async def test_the_end_of_a_daemon_waits_for_an_eviction(bench: Bench, daemon: Daemon) -> None:
    """What is half way is not left there."""
    await filled(daemon, *(f"x/a{number}:0.0" for number in range(10)))
    evicting = asyncio.create_task(evict(daemon))
    await bench.end(daemon)
    await asyncio.gather(evicting, return_exceptions=True)
    for number in range(10):
        marker = daemon.root / f"x/a{number}/.0.0.SUCCESS"
        assert marker.exists() == (daemon.root / f"x/a{number}/0.0").exists()
