"""The error table, read where a caller reads it: at the far end of a channel."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from assetd.v1 import asset_service_pb2 as pb
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub
from assetd_server.assets.orders import FetchEvent, FetchOrder
from assetd_server.errors import AssetError, BadManifestError, StoreUnavailableError
from assetd_server.rpc.status import TABLE
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from tests.rpc.fakes import STARTED, FakeAssets
from tests.rpc.serving import Served, serving

RESOLVE = pb.ResolveVersionRequest(spec="nlp/ranker")
Fail = Callable[[Served], Awaitable[grpc.aio.AioRpcError]]
ERRORS = AssetError.__subclasses__()


def sample(kind: type[AssetError]) -> AssetError:
    """An error as the domain raises it: with what its details are made of."""
    return kind(
        "{name}:{version} is at fault in {field}, by {owner}",
        name="nlp/ranker",
        version="1.2",
        field="spec",
        owner="ci",
    )


async def fail_unary(served: Served) -> grpc.aio.AioRpcError:
    """The end of a call with one answer."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await served.assets.ResolveVersion(RESOLVE)
    return failed.value


async def fail_stream(served: Served) -> grpc.aio.AioRpcError:
    """The end of a call with a stream of answers."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        async for _ in served.assets.Fetch(pb.FetchRequest(spec="nlp/ranker")):
            pass
    return failed.value


async def fail_both_streams(served: Served) -> grpc.aio.AioRpcError:
    """The end of a call with streams both ways."""
    commit = pb.PushRequest(commit=pb.PushCommit())
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        async for _ in served.assets.Push(iter([commit])):
            pass
    return failed.value


def trailer(failed: grpc.aio.AioRpcError, name: str) -> str | bytes | None:
    """One of the trailers."""
    metadata = failed.trailing_metadata()
    return metadata.get(name) if metadata is not None else None


def status_of(failed: grpc.aio.AioRpcError) -> Status:
    """The status in the form that holds details."""
    raw = trailer(failed, "grpc-status-details-bin")
    assert isinstance(raw, bytes)
    return Status.FromString(raw)


def details_of(failed: grpc.aio.AioRpcError) -> dict[str, Message]:
    """The details by their type."""
    found = {}
    for packed in status_of(failed).details:
        name = packed.TypeName().rpartition(".")[2]
        detail: Message = getattr(error_details_pb2, name)()
        assert packed.Unpack(detail)
        found[name] = detail
    return found


@pytest.mark.parametrize("fail", [fail_unary, fail_stream, fail_both_streams])
@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.reason)
async def test_each_error_arrives(
    served: Served, assets: FakeAssets, kind: type[AssetError], fail: Fail
) -> None:
    """Every failure of assetd reaches the caller with its code, one reason and its values.

    With its message, on every kind of call.
    """
    assets.error = sample(kind)
    failed = await fail(served)
    assert failed.code() is TABLE[kind].code
    assert trailer(failed, "assetd-reason") == kind.reason
    assert failed.details() == "nlp/ranker:1.2 is at fault in spec, by ci"
    assert status_of(failed).code == failed.code().value[0]
    assert status_of(failed).message == failed.details()
    info = details_of(failed)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.domain, info.reason) == ("assetd.v1", kind.reason)
    assert assets.error.metadata.items() <= dict(info.metadata).items()


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.reason)
async def test_each_error_brings_its_details(
    served: Served, assets: FakeAssets, kind: type[AssetError]
) -> None:
    """What the details say is about the field, or the version, that the error names."""
    assets.error = sample(kind)
    for name, detail in details_of(await fail_unary(served)).items():
        match detail:
            case error_details_pb2.BadRequest(field_violations=[violation]):
                assert violation.field == "spec"
                assert violation.description == str(assets.error)
            case error_details_pb2.ResourceInfo():
                assert detail.resource_type
                assert detail.resource_name == "nlp/ranker:1.2"
                assert detail.owner == "ci"
            case error_details_pb2.PreconditionFailure(violations=[violation]):
                assert violation.type == kind.reason
                assert violation.subject == "nlp/ranker:1.2"
            case error_details_pb2.QuotaFailure(violations=[violation]):
                assert violation.subject
                assert violation.description == str(assets.error)
            case error_details_pb2.RetryInfo():
                assert detail.retry_delay.seconds == TABLE[kind].retry_after_seconds
            case _:
                assert name == "ErrorInfo"


async def end_of(call: Any) -> grpc.aio.AioRpcError:
    """The end of a call of whatever kind, whose request is empty."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await (call.read() if hasattr(call, "read") else call)
    return failed.value


@pytest.mark.parametrize(
    "method",
    ["AssetService/Nope", "CacheService/" + "n" * 3000, "PeerService/Fetch", "Nothing"],
    ids=["unknown", "long", "service", "no method"],
)
@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_a_method_of_a_later_release(served: Served, kind: str, method: str) -> None:
    """A method that this release does not know is refused by name, as a field of one is."""
    begin = getattr(served.channel, kind)(f"/assetd.v1.{method}")
    failed = await end_of(begin(iter([b""]) if kind.startswith("stream") else b""))
    assert failed.code() is grpc.StatusCode.UNIMPLEMENTED
    assert trailer(failed, "assetd-reason") == "NOT_BUILT"
    info = details_of(failed)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert info.metadata["field"].startswith(f"assetd.v1.{method}"[:150])
    # And the server goes on.
    assert (await served.assets.ResolveVersion(RESOLVE)).asset_version.version == "1.2"


async def test_a_method_of_others_is_theirs(served: Served) -> None:
    """What is not in our package is not ours to name: gRPC answers by itself."""
    begin: Any = served.channel.unary_unary("/x.Y/Nope")
    failed = await end_of(begin(b""))
    assert failed.code() is grpc.StatusCode.UNIMPLEMENTED
    assert trailer(failed, "assetd-reason") is None


async def test_events_before_a_failure_arrive(tmp_path: Path) -> None:
    """A stream that fails late has said before what it knew."""

    class FailsLate(FakeAssets):
        async def fetch(self, _order: FetchOrder) -> AsyncGenerator[FetchEvent, None]:
            yield STARTED
            raise StoreUnavailableError("the store does not answer")

    async with serving(tmp_path, FailsLate()) as served:
        events = aiter(served.assets.Fetch(pb.FetchRequest(spec="nlp/ranker")))
        assert (await anext(events)).WhichOneof("event") == "started"
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await anext(events)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_largest_failure_passes_a_narrow_door(tmp_path: Path) -> None:
    """A caller that takes headers of 4 KiB at most gets the worst of failures whole."""
    values = {f"value_{number}": "ä" * 1000 for number in range(30)}
    worst = BadManifestError("ö" * 1000, **values)
    options = [("grpc.absolute_max_metadata_size", 4096), ("grpc.max_metadata_size", 4096)]
    async with (
        serving(tmp_path, FakeAssets(worst)),
        grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}", options=options) as narrow,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await AssetServiceStub(narrow).ResolveVersion(RESOLVE)
    assert failed.value.code() is grpc.StatusCode.DATA_LOSS
    assert trailer(failed.value, "assetd-reason") == "BAD_MANIFEST"
    assert failed.value.details() == "ö" * 254 + "..."
