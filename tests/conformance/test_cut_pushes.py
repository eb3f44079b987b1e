"""A push that is cut while a request of its upload is on its way, on a real S3 server.

The proxy holds that request back until the push would have ended: S3 takes a part that comes after
its upload was aborted, and the upload stays for ever then.
"""

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import botocore.session
import pytest
from assetd_server.assets.orders import PushCommit, PushHeader, PushStep
from assetd_server.assets.source_uris import StagedPath
from assetd_server.model import AssetKind
from assetd_server.spec import Spec
from assetd_server.store.base import ObjectStore
from assetd_server.store.objects import S3Settings, open_s3_store
from assetd_server.store.retrying import RetryingStore

from tests.conformance.conftest import BUCKET
from tests.support.assets_bench import SETTINGS, Bench, Daemon, opened_bench, steps_of
from tests.support.http_proxy import Fate, JudgingProxy, Request
from tests.support.versitygw import S3Server

MIB = 1 << 20
LARGE = b"".join(bytes([number]) * MIB for number in range(33))
SPEC = "x/y:1.0"
STAGED = ".assetd/push/large"
# A push that does not wait for its request has ended long before.
SOON_SECONDS = 0.5
PATIENCE_SECONDS = 60


class Holder:
    """Holds back the first request of a kind, and tells whether an abort came before it went on."""

    def __init__(self, kind: str, fate: Fate) -> None:
        self._kind = kind
        self._fate = fate
        self.held: Request | None = None
        self.reached = threading.Event()
        self.is_let_go = False
        self.aborts_after: list[bool] = []

    def judge(self, request: Request) -> Fate:
        """Say what becomes of a request."""
        if self.held is None and request.target.endswith(self._kind):
            self.held = request
            self.reached.set()
            return self._fate
        if request.method == "DELETE" and "uploadId=" in request.target:
            self.aborts_after.append(self.is_let_go)
        return Fate.PASS


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Room for a daemon."""
    async with opened_bench(tmp_path) as bench:
        yield bench


async def steps_for(daemon: Daemon, way: str) -> AsyncIterator[PushStep]:
    """Yield the steps of a push of a large file, inline up to its last chunk, or staged."""
    if way == "staged":
        (daemon.root / STAGED).parent.mkdir(parents=True, exist_ok=True)
        (daemon.root / STAGED).write_bytes(LARGE)
        yield PushHeader(Spec.parse(SPEC), AssetKind.FILE, content=StagedPath("large"))
        yield PushCommit()
        return
    for step in steps_of(SPEC, LARGE, chunk_bytes=MIB)[:-2]:
        yield step
    # What has come whole would be stored to its end.
    await asyncio.Event().wait()


@pytest.mark.parametrize("way", ["inline", "staged"])
@pytest.mark.parametrize(
    ("kind", "fate"),
    [("?uploads", Fate.HOLD_ANSWER), ("partNumber=1", Fate.HOLD), ("partNumber=2", Fate.HOLD)],
)
async def test_no_upload_is_left_of_what_was_on_its_way(
    bench: Bench,
    s3_server: S3Server,
    s3_session: botocore.session.Session,
    way: str,
    kind: str,
    fate: Fate,
) -> None:
    """The upload is aborted once all that was under way to the store has ended, and not before."""
    holder = Holder(kind, fate)
    with JudgingProxy(s3_server.port, holder.judge) as proxy:
        store = _opened(replace(s3_server, port=proxy.port), s3_session)
        settings = replace(SETTINGS, push_resume_max_age_seconds=0.0)
        daemon = bench.daemon(settings, store=RetryingStore(store))
        pushing = asyncio.create_task(daemon.push_stream(steps_for(daemon, way)))
        assert await asyncio.to_thread(holder.reached.wait, PATIENCE_SECONDS)
        pushing.cancel()
        await asyncio.wait([pushing], timeout=SOON_SECONDS)
        holder.is_let_go = True
        assert holder.held is not None
        proxy.let_go(holder.held)
        with pytest.raises(asyncio.CancelledError):
            await pushing
        await asyncio.to_thread(holder.held.ended.wait)
        assert holder.aborts_after == [True]
        assert [upload async for upload in store.uploads("")] == []
        (daemon.root / STAGED).unlink(missing_ok=True)
        await daemon.require_idle()
        await bench.close()


def _opened(server: S3Server, session: botocore.session.Session) -> ObjectStore:
    settings = S3Settings(
        bucket=BUCKET,
        prefix=f"cut-{uuid.uuid4().hex}",
        endpoint_url=server.endpoint_url,
        region=server.region,
    )
    return open_s3_store(settings, session=session)
