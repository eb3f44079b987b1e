"""How far a push is, told piece by piece: also of one large file, from wherever it comes."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest
from assetd_server.assets.orders import (
    PushCommit,
    PushCompleted,
    PushHeader,
    PushPhase,
    PushProgress,
    PushStep,
)
from assetd_server.assets.receiving import Received
from assetd_server.assets.source_uris import StagedPath
from assetd_server.model import AssetKind, PartPath
from assetd_server.spec import Spec

from tests.support.assets_bench import Bench, Daemon, steps_of, told
from tests.support.memory_store import Gate

MIB = 2**20
LARGE = b"".join(bytes([number]) * MIB for number in range(33))
KEY = "x/y/1.0"
# More events than that without a step forward are no progress.
PATIENCE = 10


def steps_for(daemon: Daemon, way: str) -> Sequence[PushStep]:
    """The steps of a push of a large file: sent, of known digest or not, or staged."""
    if way != "staged":
        return steps_of("x/y:1.0", LARGE, chunk_bytes=MIB, with_digest=way == "streamed")
    staged = daemon.root / ".assetd/push/large"
    staged.parent.mkdir(parents=True, exist_ok=True)
    staged.write_bytes(LARGE)
    header = PushHeader(Spec.parse("x/y:1.0"), AssetKind.FILE, content=StagedPath("large"))
    return [header, PushCommit()]


async def figures_of(
    daemon: Daemon, steps: AsyncIterator[PushStep], gates: Sequence[Gate]
) -> list[PushProgress]:
    """Push, and return the events with other figures than before; each opens another gate."""
    figures: list[PushProgress] = []
    closed, repeats = list(gates), 0
    async with aclosing(daemon.assets.push(steps)) as events:
        async for event in events:
            if not isinstance(event, PushProgress) or event.phase is PushPhase.HASHING:
                continue
            repeats += 1
            assert repeats < PATIENCE, f"it stands still at {event}"
            if not figures or figures[-1].stored_bytes != event.stored_bytes:
                figures.append(event)
                repeats = 0
                if closed:
                    closed.pop(0).open()
    assert isinstance(event, PushCompleted)
    return figures


@pytest.mark.parametrize("way", ["streamed", "spooled", "staged"])
async def test_each_piece_counts_when_the_store_has_it(
    bench: Bench, daemon: Daemon, way: str
) -> None:
    """The figures of one large file grow with each of its pieces, up to its size and no further."""
    gates = [bench.store.pause("upload_part", KEY) for _ in range(3)]
    gates.append(bench.store.pause("create_from_upload", KEY))
    figures = await figures_of(daemon, told(steps_for(daemon, way)), gates)
    assert [event.stored_bytes for event in figures] == [0, 16 * MIB, 32 * MIB, 33 * MIB]
    assert {event.total_bytes for event in figures[1:]} == {33 * MIB}
    assert [event.phase for event in figures] == [*[PushPhase.STORING] * 3, PushPhase.COMMITTING]
    (daemon.root / ".assetd/push/large").unlink(missing_ok=True)


async def test_what_the_store_copies_counts_too(bench: Bench, daemon: Daemon) -> None:
    """Before the copied part is shown and read back."""
    await daemon.push("x/y:0.5", LARGE)
    gates = [bench.store.pause(call, KEY) for call in ("copy_part", "create_from_upload")]
    figures = await figures_of(daemon, told(steps_for(daemon, "staged")), gates)
    assert [event.stored_bytes for event in figures] == [0, 33 * MIB]
    (daemon.root / ".assetd/push/large").unlink()


@pytest.mark.usefixtures("bench")
async def test_what_is_staged_is_hashed_first(daemon: Daemon) -> None:
    """Nothing is said to be stored before it is."""
    events = await daemon.push_steps(steps_for(daemon, "staged"))
    phases = [event.phase for event in events if isinstance(event, PushProgress)]
    assert phases[0] is PushPhase.HASHING
    (daemon.root / ".assetd/push/large").unlink()


def test_nothing_is_counted_twice() -> None:
    """A file that is stored once more counts where it comes further; another claim begins anew."""
    received = Received(PushHeader(Spec.parse("x/y"), AssetKind.DIRECTORY), None)  # type: ignore[arg-type]
    one, other = PartPath("one"), PartPath("other")
    told = []
    for path, stored_bytes in ((one, 16), (one, 32), (other, 5), (one, 16), (one, 32), (one, 40)):
        received.count(path, stored_bytes)
        told.append(received.stored_bytes)
    assert told == [16, 32, 37, 37, 37, 45]
    received.count_anew()
    received.count(one, 16)
    assert received.stored_bytes == 16
