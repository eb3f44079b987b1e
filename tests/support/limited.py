"""A bench whose daemons have little room: what is present, what goes, and who is asked.

Knows what `assets_bench` knows.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from assetd_server.assets.cache_orders import (
    EvictEntry,
    EvictOrder,
    EvictOutcome,
    Selector,
    VerifyEvent,
    VerifyOrder,
)
from assetd_server.assets.orders import FetchCompleted, FetchOrder
from assetd_server.assets.settings import AssetsSettings
from assetd_server.cache.budget import Limits
from assetd_server.spec import Spec

from tests.support.assets_bench import SETTINGS, Daemon, first_of

# Nobody is too young, and no start is too near, unless a test says so.
EAGER = Limits(min_age_seconds=0, restart_grace_seconds=0)


def limited(**limits: Any) -> AssetsSettings:
    """Settings with these limits; ages and graces are nothing unless they are given."""
    return replace(SETTINGS, limits=replace(EAGER, **limits))


def present(daemon: Daemon) -> list[str]:
    """The versions that a reader finds complete, by their specs, in bytewise order."""
    specs = []
    for path in assets_files(daemon.root):
        above = str(path.parent.relative_to(daemon.root))
        if path.name == ".SUCCESS":
            name, _, version = above.rpartition("/")
            specs.append(f"{name}:{version}")
        elif path.name.endswith(".SUCCESS"):
            version = path.name.removeprefix(".").removesuffix(".SUCCESS")
            # Users forget the marker when they delete a file.
            specs += [f"{above}:{version}"] if path.with_name(version).exists() else []
    return sorted(specs)


def assets_files(root: Path) -> list[Path]:
    """All files below ASSETS_DIR but those below folders of ours and of modelkit."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in files]
    return found


async def filled(daemon: Daemon, *specs: str, size_bytes: int = 100) -> None:
    """Push versions of that size, and fetch them one after the other."""
    for spec in specs:
        await daemon.push(spec, spec.encode().ljust(size_bytes, b"."))
        await daemon.fetch(spec)


@asynccontextmanager
async def held(daemon: Daemon, spec: str, caller: str = "holder") -> AsyncIterator[FetchCompleted]:
    """Hold a version by a stream for the length of the block."""
    order = FetchOrder(Spec.parse(spec), hold=True, caller=caller)
    async with aclosing(daemon.assets.fetch(order)) as events:
        completed = await first_of(events, FetchCompleted)
        assert isinstance(completed, FetchCompleted)
        yield completed


async def evict(daemon: Daemon, *, dry_run: bool = False, **selector: Any) -> list[EvictEntry]:
    """Evict as an operator does: by `spec` or `name_prefix`, or all."""
    if "spec" in selector:
        selector["spec"] = Spec.parse(selector["spec"])
    return list(await daemon.assets.evict(EvictOrder(Selector(**selector), dry_run)))


def outcomes(entries: Sequence[EvictEntry]) -> dict[str, EvictOutcome]:
    """What became of whom, in order."""
    return {str(entry.asset_version): entry.outcome for entry in entries}


async def verify(daemon: Daemon, *, repair: bool = False, **selector: Any) -> list[VerifyEvent]:
    """Verify to the end and return all events."""
    if "spec" in selector:
        selector["spec"] = Spec.parse(selector["spec"])
    order = VerifyOrder(Selector(**selector), repair)
    async with aclosing(daemon.assets.verify(order)) as events:
        return [event async for event in events]


async def turns(count: int = 20) -> None:
    """Let whoever is ready go on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Let what is under way in threads go on until then."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - nothing but the disk tells of it
            await asyncio.sleep(0)
