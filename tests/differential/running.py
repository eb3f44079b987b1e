"""Lives through histories in new worlds, and shrinks those in which something new differs.

The parties are started once: one modelkit process for all histories, one event loop for assetd.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import botocore.session
from assetd_server.store.base import ObjectStore
from assetd_server.store.local import LocalStore
from assetd_server.store.objects import S3Settings, open_s3_store

from tests.differential.differences import judge
from tests.differential.histories import History, Step
from tests.differential.living import WORLDS, Judge, Lived, live
from tests.differential.worlds import Storage
from tests.support.modelkit import Modelkit, running_modelkit
from tests.support.versitygw import S3Server

BUCKET: Final = "histories"
_PREFIX: Final = "prefix"


class Stores:
    """Makes empty stores: folders, or prefixes of one bucket."""

    def __init__(self, server: S3Server | None = None) -> None:
        """Keep where; with a server, the bucket is there."""
        self._server = server
        self._session: botocore.session.Session | None = server.session() if server else None
        self._count = 0

    def new(self, folder: Path) -> Storage:
        """Return a store with nothing in it; if it is a folder, that one."""
        self._count += 1
        if self._server is None:
            return self._new_folder(folder)
        return self._new_prefix(self._server, f"store{self._count}")

    def _new_folder(self, folder: Path) -> Storage:
        root = folder / _PREFIX
        root.mkdir(parents=True)
        return Storage(_variables("local", str(folder), _PREFIX), lambda: LocalStore(root))

    def _new_prefix(self, server: S3Server, prefix: str) -> Storage:
        settings = S3Settings(
            bucket=BUCKET,
            prefix=prefix,
            endpoint_url=server.endpoint_url,
            region=server.region,
        )

        def open_store() -> ObjectStore:
            assert self._session is not None
            return open_s3_store(settings, session=self._session)

        variables = _variables("s3", BUCKET, prefix) | server.environment
        return Storage(variables, open_store)


def _variables(provider: str, bucket: str, prefix: str) -> dict[str, str]:
    values = {"PROVIDER": provider, "BUCKET": bucket, "PREFIX": prefix}
    return {f"MODELKIT_STORAGE_{name}": value for name, value in values.items()}


@dataclass
class Differential:
    """Both parties, ready to live through one history after the other."""

    folder: Path
    modelkit: Modelkit
    runner: asyncio.Runner
    judge: Judge = judge
    _count: int = 0

    def live(self, lived: History, stores: Stores) -> Lived:
        """Live through a history in three new worlds."""
        self._count += 1
        folder = self.folder / f"history{self._count}"
        storages = {world: stores.new(folder / f"store of {world}") for world in WORLDS}
        return live(lived, folder, storages, self.modelkit, self.runner, self.judge)

    def explain(self, failed: History, stores: Stores) -> str:
        """Return the shortest history found in which something differs, and what does."""
        shortest = self._shrink(failed, stores)
        found = self.live(shortest, stores)
        return f"{shortest}\n\n{found.difference}"

    def _shrink(self, failed: History, stores: Stores) -> History:
        """Leave out steps, many at a time and then each, as long as something still differs."""
        size = max(1, len(failed.steps) // 2)
        while True:
            shorter = self._without(failed, size, stores)
            if shorter is not None:
                failed = shorter
            elif size == 1:
                return failed
            else:
                size //= 2

    def _without(self, failed: History, size: int, stores: Stores) -> History | None:
        for start in range(0, len(failed.steps), size):
            steps: Sequence[Step] = failed.steps[:start] + failed.steps[start + size :]
            shorter = failed.with_steps(steps)
            if self.live(shorter, stores).difference:
                return shorter
        return None


@contextmanager
def running_differential(folder: Path) -> Iterator[Differential]:
    """Give both parties for the length of the block; what modelkit logs goes to the folder."""
    with (
        running_modelkit(folder / "modelkit.log") as modelkit,
        asyncio.Runner() as runner,
    ):
        yield Differential(folder, modelkit, runner)
