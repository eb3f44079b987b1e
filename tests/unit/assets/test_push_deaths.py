"""A daemon that dies at each call of its store in a push, and the next one over its ASSETS_DIR.

The same as tests/faults/test_push_kills.py has of real daemons and S3, on the store in a directory.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from assetd_server.errors import AssetError
from assetd_server.store.base import ObjectStore
from assetd_server.store.local import LocalStore

from tests.support.assets_bench import Bench, Daemon, PassingClock
from tests.support.buckets import FolderBucket
from tests.support.dying_store import DyingStore
from tests.support.pausing_store import PausingStore
from tests.support.push_cases import EXISTS, SUCCESS, Case, Order, next_version
from tests.support.push_shapes import SHAPES, Shape
from tests.support.versions import Content
from tests.support.wire_pushes import Outcome

NAME = "some/asset"
_LONG_SECONDS = 2.0


class BriefClock(PassingClock):
    """Brief waits pass at once; what is done every few seconds is not done."""

    async def sleep(self, seconds: float) -> None:
        if seconds >= _LONG_SECONDS:
            await asyncio.Event().wait()
        await super().sleep(seconds)


async def pushed(
    daemon: Daemon, spec: str, content: Content, push_id: str | None = None
) -> Outcome:
    """Push, and return how it ended."""
    try:
        completed = await daemon.push(spec, content, push_id=push_id)
    except AssetError as error:
        return Outcome(code="FAILED", reason=error.reason, metadata=error.metadata)
    return Outcome(str(completed.asset_version.version), completed.already_existed)


def made(folder: Path) -> Path:
    """The folder, which was not there."""
    folder.mkdir(parents=True)
    return folder


@asynccontextmanager
async def opened(root: Path) -> AsyncIterator[LocalStore]:
    """A store in a directory, empty."""
    store = LocalStore(made(root))
    try:
        yield store
    finally:
        await store.close()


async def call_count(folder: Path, shape: Shape) -> int:
    """How many calls of its store an undisturbed push makes."""
    bench = Bench(folder)
    async with opened(folder / "undisturbed") as store:
        counting = PausingStore(store)
        assert (
            await pushed(bench.daemon(store=counting), f"{NAME}{shape.selector}", shape.content)
        ).is_ok
        await bench.close()
    return len(counting.calls)


async def life_and_death(folder: Path, case: Case, *, takes_effect: bool) -> None:
    """Push until the daemon dies at its step, start another over what it left, and look."""
    bench, bucket = Bench(folder), FolderBucket(folder / "store")
    async with opened(bucket.root) as store:
        dying = DyingStore(store, case.step, takes_effect=takes_effect)
        dead = bench.daemon(store=dying)
        push = asyncio.create_task(pushed(dead, case.spec, case.shape.content, case.push_id))
        await dying.has_died.wait()
        try:
            successor = await started(bench, store, dead.root)
            see_what_is_left(case, bucket)
            await follow(case, bucket, successor)
            case.judge(bucket, may_leave_litter=False)
        finally:
            dying.end()
            await push
            await bench.close()


async def started(bench: Bench, store: ObjectStore, root: Path) -> Daemon:
    """Start another daemon, and wait until it has done with what the dead one was pushing."""
    daemon = bench.daemon(store=store, root=root, clock=BriefClock())
    await daemon.assets.load()
    await daemon.assets.start()
    async with asyncio.timeout(60):
        # Nothing but the files tells of it.
        while [path for path in (root / ".assetd/push").rglob("*") if path.is_file()]:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    return daemon


def see_what_is_left(case: Case, bucket: FolderBucket) -> None:
    """A start leaves no claim but released ones, and lists what is committed."""
    seen = case.look(bucket)
    for finding in seen.findings():
        case.find(f"after the restart {finding}")
    for version, state in seen.claim_states().items():
        if state != "released":
            case.find(f"after the restart the claim on {version} is {state}")


async def follow(case: Case, bucket: FolderBucket, daemon: Daemon) -> None:
    """Push other content before or after a repeat of the push, and then a bump."""
    other = case.shape.other
    if case.order is Order.OTHER:
        seen = case.look(bucket)
        outcome = await pushed(daemon, case.spec, other)
        allowed = EXISTS if case.shape.version in seen.metas else SUCCESS
        case.expect("other content in its place", outcome, other, allowed)
    is_taken = case.acknowledged.get(case.shape.version) == other
    outcome = await pushed(daemon, case.spec, case.shape.content, case.push_id)
    case.expect("its repeat", outcome, case.shape.content, EXISTS if is_taken else SUCCESS)
    if outcome.is_ok:
        exact = await pushed(daemon, f"{case.name}:{outcome.version}", other)
        case.expect("other content after it", exact, other, EXISTS)
    expected = next_version(case.look(bucket))
    bumped = await pushed(daemon, case.name, other)
    case.expect("a bump", bumped, other, SUCCESS)
    if bumped.is_ok and bumped.version != expected:
        case.find(f"a bump is {bumped}, and not {expected}")


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("takes_effect", [False, True])
@pytest.mark.parametrize("shape", ["file", "bump"])
async def test_a_death_at_any_call(
    tmp_path: Path, shape: str, order: Order, *, takes_effect: bool
) -> None:
    """Whatever call of a push a death comes at, the next run leaves nothing of it half done."""
    cases = [
        Case(NAME, SHAPES[shape], step, order)
        for step in range(1, 1 + await call_count(tmp_path, SHAPES[shape]))
    ]
    for case in cases:
        await life_and_death(tmp_path / f"life{case.step}", case, takes_effect=takes_effect)
    found = [finding for case in cases for finding in case.findings]
    assert not found, "\n".join(found)
