"""A download whose object is replaced while it is interrupted: the two are never mixed.

Without checksums, as modelkit pushes, the object's ETag is all that tells one from the other.
"""

import asyncio
import tempfile
from pathlib import Path

from assetd_server.assets.settings import AssetsSettings
from assetd_server.errors import AssetError
from assetd_server.store.base import ObjectReader

from tests.support.assets_bench import RANGE_BYTES, Bench
from tests.support.memory_store import MemoryStore

_SPEC, _KEY = "x/y:0.0", "x/y/0.0"
_RANGES = 6
_OLD, _NEW = b"o" * (RANGE_BYTES * _RANGES), b"n" * (RANGE_BYTES * _RANGES)


class NoIfMatchStore(MemoryStore):
    """A seeded bug: what is read may be of another write than what was read before."""

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None, etag: str | None = None
    ) -> ObjectReader:
        del etag
        return await super().read(key, start=start, length=length)


def resume_findings(store_type: type[MemoryStore]) -> list[str]:
    """Return what is wrong, wherever the download was interrupted."""
    return [
        f"interrupted after {count} ranges: {wrong}"
        for count in range(1, _RANGES - 1)
        for wrong in asyncio.run(_resume(store_type, count))
    ]


async def _resume(store_type: type[MemoryStore], count: int) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="assetd-") as folder:
        bench = Bench(Path(folder), store_type(chunk_bytes=1024))
        try:
            return await _resume_on(bench, count)
        finally:
            await bench.close()


async def _resume_on(bench: Bench, count: int) -> list[str]:
    daemon = bench.daemon(AssetsSettings(range_bytes=RANGE_BYTES, connection_count=1))
    await bench.modelkit_pushes(_SPEC, _OLD)
    gates = [bench.store.pause("read", _KEY) for _ in range(count + 1)]
    fetching = asyncio.create_task(daemon.fetch(_SPEC))
    for gate in gates[:-1]:
        await gate.reached()
        gate.open()
    await gates[-1].reached()
    bench.store.go_down()
    gates[-1].open()
    try:
        await fetching
    except AssetError:
        bench.store.come_back()
    else:
        return ["the store did not fail"]
    await bench.memory.put(_KEY, _NEW)
    completed = await daemon.fetched(_SPEC)
    standing = (daemon.root / _KEY).read_bytes()
    # That it resumes is promised elsewhere; here, that what it resumes is the same object.
    return [] if standing in (_OLD, _NEW) else [f"a mixture, {completed.reused_bytes} bytes old"]
