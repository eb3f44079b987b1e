"""What a push leaves that died is settled by the next run, call for call as `layout.md` says."""

import json
from pathlib import Path

import pytest
from assetd_server.errors import PushInProgressError, StoreUnavailableError

from tests.support.assets_bench import Bench, Daemon, digest_of
from tests.support.memory_store import MemoryStore
from tests.support.pausing_store import PausingStore

TREE = {"a": b"1" * 2500, "sub/b": b"2" * 10}
OTHER = {"a": b"9" * 2500}
PUSH_ID = "6f0e6a2e-6d1c-4a51-9f0e-0d0b8f8a7c11"


class DeadStore(PausingStore):
    """The store of a daemon that is about to die: from some call on nothing reaches it."""

    def __init__(self, inner: MemoryStore, last_call: int) -> None:
        super().__init__(inner)
        self._last_call = last_call

    async def _begin(self, operation: str, key: str):  # type: ignore[no-untyped-def]
        if len(self.calls) >= self._last_call:
            self.calls.append((operation, key))
            raise self._unavailable()
        return await super()._begin(operation, key)


async def died(bench: Bench, spec: str, last_call: int) -> tuple[Path, bool]:
    """Push with a daemon that dies after so many store calls; return its ASSETS_DIR."""
    store = DeadStore(bench.memory, last_call)
    daemon = bench.daemon(store=store)
    try:
        await daemon.push(spec, TREE, push_id=PUSH_ID)
    except StoreUnavailableError:
        is_done = False
    else:
        is_done = True
    store.come_back()
    bench.daemons.remove(daemon)
    await daemon.assets.close()
    await daemon.sources.close()
    daemon.assets_dir.close()
    return daemon.root, is_done


async def versions_there(bench: Bench) -> list[str]:
    """The versions that exist."""
    return [key[4:-5] for key in bench.memory.keys if key.endswith(".meta")]


@pytest.mark.parametrize("spec", ["x/d", "x/d:1.0"])
async def test_after_a_death_at_any_call_the_next_run_settles(bench: Bench, spec: str) -> None:
    """No claim stays open, what exists is listed, and nothing is left in the journal."""
    last_call, is_done = 0, False
    outcomes = set()
    while not is_done:
        last_call += 1
        for key in bench.memory.keys:
            await bench.memory.delete(key)
        root, is_done = await died(bench, spec, last_call)
        daemon = bench.daemon(root=root)
        await daemon.assets.settle_pushes()
        assert await bench.claim_states() <= {"released"}, last_call
        assert await bench.listed("x/d") == await versions_there(bench)
        assert list((root / ".assetd/push/.journal").glob("*")) == []
        outcomes.add(bool(await versions_there(bench)))
        again = await daemon.push(spec, TREE, push_id=PUSH_ID)
        assert len(await versions_there(bench)) == 1
        assert again.asset_version.digest == digest_of(TREE)
        await bench.end(daemon)
    assert outcomes == {True, False}
    assert last_call > 10


@pytest.mark.parametrize("line", [b"", b'"]', b'["x/d/1.0/a"', b'["y/e/1.0/a", "u"]', b"7"])
async def test_a_line_that_cannot_be_read_costs_no_claim(bench: Bench, line: bytes) -> None:
    """It named an upload, if anything: the claim is released all the same."""
    root, _ = await died(bench, "x/d:1.0", 8)
    [record] = (root / ".assetd/push/.journal").glob("*")
    record.write_bytes(record.read_bytes() + line + b"\n")
    await bench.daemon(root=root).assets.settle_pushes()
    assert await bench.claim_states() == {"released"}
    assert not record.exists()


async def test_until_then_other_content_is_told_who_is_in_the_way(bench: Bench) -> None:
    """An exact version stays claimed while the dead daemon has not come back."""
    root, _ = await died(bench, "x/d:1.0", 8)
    assert await bench.claim_states() == {"open"}
    other = bench.daemon()
    with pytest.raises(PushInProgressError) as failure:
        await other.push("x/d:1.0", OTHER)
    assert failure.value.metadata["owner"]
    await bench.daemon(root=root).assets.settle_pushes()
    await other.push("x/d:1.0", OTHER)
    assert await bench.stored("x/d:1.0") == OTHER


async def test_a_claim_of_another_is_left_alone(bench: Bench, daemon: Daemon) -> None:
    """Released and taken over meanwhile: the new owner's push goes on."""
    root, _ = await died(bench, "x/d:1.0", 8)
    [(key, claim)] = (await bench.claims()).items()
    await bench.memory.put(key, json.dumps(claim | {"id": "f" * 32}).encode())
    await bench.daemon(root=root).assets.settle_pushes()
    assert await bench.claim_states() == {"open"}
    await daemon.push("x/d:1.0", TREE)


async def test_where_nothing_stands_a_record_is_left(bench: Bench) -> None:
    """A claim of the past life that comes late must find the place taken."""
    root, _ = await died(bench, "x/d:1.0", 5)
    assert await bench.claims() == {}
    await bench.daemon(root=root).assets.settle_pushes()
    [claim] = (await bench.claims()).values()
    assert (claim["state"], claim["push_id"]) == ("released", PUSH_ID)


async def test_a_record_that_cannot_be_read_is_left_alone(daemon: Daemon) -> None:
    """A later release's, one that was cut short, a damaged one: none stops the others."""
    await daemon.push("x/y:1.0", b"d")
    journal = daemon.root / ".assetd/push/.journal"
    for name, content in (
        ("cut", b'{"name": '),
        ("odd", b"{}\n"),
        ("none", b"\n"),
        ("bad", b"[1]\n"),
        ("deep", b"[" * 100_000 + b"\n"),
        ("typed", b'{"name":"x/y","version":"1.0","claim":1}\n'),
    ):
        (journal / name).write_bytes(content)
    names = sorted(path.name for path in journal.iterdir())
    await daemon.assets.settle_pushes()
    assert sorted(path.name for path in journal.iterdir()) == names
    for path in journal.iterdir():
        path.unlink()


async def test_a_record_ends_no_upload_of_another_version(bench: Bench) -> None:
    """A line that names such an upload is damaged: nobody follows it, and the rest is settled."""
    root, _ = await died(bench, "x/d:1.0", 8)
    [record] = (root / ".assetd/push/.journal").iterdir()
    whole = record.read_bytes()
    others = await bench.memory.start_upload("x/d/1.1/a")
    record.write_bytes(whole + json.dumps([others.key, others.upload_id]).encode() + b"\n")
    daemon = bench.daemon(root=root)
    await daemon.assets.settle_pushes()
    assert [found.upload async for found in bench.memory.uploads("x/")] == [others]
    assert await bench.claim_states() == {"released"}
    await bench.memory.abort_upload(others)
