"""The calls that only look: resolve, list, list_files, status; and what all calls carry."""

import subprocess
import sys

import pytest
from assetd import Client
from assetd.asset import Scope
from assetd.v1 import asset_pb2
from assetd.v1.asset_service_pb2 import (
    ListFilesResponse,
    ListRequest,
    ListResponse,
    ResolveVersionResponse,
)
from assetd.v1.cache_service_pb2 import GetCacheStatusResponse
from opentelemetry import propagate, trace
from opentelemetry.propagators.composite import CompositePropagator

from tests.clients.python.scripted import CUT, VERSION, Failure, ScriptedDaemon

RESOLVED = ResolveVersionResponse(asset_version=VERSION, resolution=asset_pb2.RESOLUTION_STORE)


def entry(version: str) -> ListResponse.Entry:
    """One version of a listing."""
    return ListResponse.Entry(
        asset_version=asset_pb2.AssetVersion(name="nlp/ranker", version=version)
    )


def test_resolve_answers_with_the_contracts_message(daemon: ScriptedDaemon, client: Client) -> None:
    """And asks for what its arguments say."""
    daemon.resolves.append(RESOLVED)
    assert client.resolve("nlp/ranker:1", freshness="cache", store_timeout=0.5) == RESOLVED
    (request,) = daemon.resolve_requests
    assert request.spec == "nlp/ranker:1"
    assert request.freshness == asset_pb2.FRESHNESS_CACHE
    assert request.store_timeout.ToTimedelta().total_seconds() == 0.5


def test_a_call_without_effects_is_repeated(daemon: ScriptedDaemon, client: Client) -> None:
    """As long as the daemon, or its store, is UNAVAILABLE."""
    daemon.resolves.extend(
        [
            CUT,
            Failure("UNAVAILABLE", "STORE_UNAVAILABLE", retry_after_seconds=0.001),
            Failure("UNAVAILABLE", "SHUTTING_DOWN"),
            # By gRPC, to a call that is on its way while the daemon begins to stop.
            Failure("CANCELLED"),
            RESOLVED,
        ]
    )
    assert client.resolve("nlp/ranker") == RESOLVED
    assert len(daemon.resolve_requests) == 5


def test_pages_are_taken_one_by_one(daemon: ScriptedDaemon, client: Client) -> None:
    """Each is asked for when it is wanted, with the same arguments and the token before."""
    pages = [
        ListResponse(entries=[entry("1.2")], next_page_token="one"),
        ListResponse(next_page_token="two"),
        ListResponse(entries=[entry("1.1")]),
    ]
    daemon.list_pages.extend(pages)
    listing = client.list("nlp/", scope="store", latest_only=True, full=True, page_size=1)
    assert next(listing) == pages[0]
    assert len(daemon.list_requests) == 1
    assert list(listing) == pages[1:]
    assert [request.page_token for request in daemon.list_requests] == ["", "one", "two"]
    for request in daemon.list_requests:
        request.page_token = ""
        assert request == ListRequest(
            name_prefix="nlp/",
            scope=ListRequest.SCOPE_STORE,
            latest_only=True,
            view=ListRequest.VIEW_FULL,
            page_size=1,
        )


def test_a_listing_is_of_everything_by_default(daemon: ScriptedDaemon, client: Client) -> None:
    """Store and cache, all names, and no more than the indexes know."""
    daemon.list_pages.append(ListResponse())
    assert list(client.list()) == [ListResponse()]
    assert daemon.list_requests == [
        ListRequest(scope=ListRequest.SCOPE_ALL, view=ListRequest.VIEW_BASIC)
    ]


def test_the_scopes_are_the_contracts() -> None:
    """A scope that is added to the contract cannot be forgotten here."""
    names = ListRequest.Scope.DESCRIPTOR.values_by_name
    assert {f"SCOPE_{scope.name}" for scope in Scope} | {"SCOPE_UNSPECIFIED"} == set(names)


def test_an_unknown_scope_is_refused_before_the_call(client: Client) -> None:
    """A slip of the pen does not become everything."""
    with pytest.raises(ValueError, match="disk"):
        client.list(scope="disk")


def test_files_are_listed_page_by_page(daemon: ScriptedDaemon, client: Client) -> None:
    """Of the version that the first page resolved: the token carries it."""
    pages = [
        ListFilesResponse(asset_version=VERSION, next_page_token="one"),
        ListFilesResponse(asset_version=VERSION),
    ]
    daemon.file_pages.extend(pages)
    listing = client.list_files(
        "nlp/ranker[vocab]", freshness="store", include=["*.txt"], exclude=["a*"], page_size=1
    )
    assert list(listing) == pages
    first, second = daemon.file_requests
    assert (first.spec, first.freshness) == ("nlp/ranker[vocab]", asset_pb2.FRESHNESS_STORE)
    assert (list(first.include), list(first.exclude)) == (["*.txt"], ["a*"])
    assert (first.page_token, first.page_size) == ("", 1)
    assert (second.spec, second.page_token) == ("nlp/ranker[vocab]", "one")


def test_status_answers_with_the_contracts_message(daemon: ScriptedDaemon, client: Client) -> None:
    """As the daemon sent it."""
    daemon.status = GetCacheStatusResponse(assets_dir="/assets", version_count=3)
    assert client.status() == daemon.status


def test_a_traced_program_passes_its_trace_on(daemon: ScriptedDaemon, client: Client) -> None:
    """The daemon's spans hang below the caller's, by W3C headers."""
    span = trace.NonRecordingSpan(
        trace.SpanContext(0x1234, 0x56, is_remote=False, trace_flags=trace.TraceFlags(1))
    )
    client.status()
    with trace.use_span(span):
        client.status()
    untraced, traced = (headers.get("traceparent") for headers in daemon.headers)
    assert untraced is None
    assert traced == f"00-{0x1234:032x}-{0x56:016x}-01"


def test_the_trace_is_passed_on_whatever_else_a_program_speaks(
    daemon: ScriptedDaemon, client: Client
) -> None:
    """Its own propagators are for others: the daemon reads the W3C headers."""
    ours = propagate.get_global_textmap()
    propagate.set_global_textmap(CompositePropagator([]))
    span = trace.NonRecordingSpan(trace.SpanContext(0x1234, 0x56, is_remote=False))
    try:
        with trace.use_span(span):
            client.status()
    finally:
        propagate.set_global_textmap(ours)
    assert daemon.headers[0]["traceparent"] == f"00-{0x1234:032x}-{0x56:016x}-00"


def test_half_of_opentelemetry_is_none(
    daemon: ScriptedDaemon, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some packages bring the name without the API."""
    # As Python itself marks a module that must not be found.
    monkeypatch.setitem(sys.modules, "opentelemetry.baggage.propagation", None)
    client.status()
    assert "traceparent" not in daemon.headers[0]


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_a_program_that_calls_nobody_stays_light() -> None:
    """Grpc takes 55 ms and 21 MiB, and waits for the first call; so does everything heavy."""
    loaded = python(
        "import sys, assetd\n"
        "client = assetd.Client('unix:///nowhere/assetd.sock')\n"
        "try: assetd.AssetNotFoundError\n"
        "finally: client.close()\n"
        "heavy = {'grpc', 'google.protobuf', 'click', 'rich', 'opentelemetry', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert loaded == "[]\n"


def test_tracing_is_not_loaded_for_a_program_without_it(daemon: ScriptedDaemon) -> None:
    """A call imports grpc, and nothing that the program did not choose."""
    loaded = python(
        "import sys, assetd\n"
        f"with assetd.Client('{daemon.address}') as client: client.status()\n"
        "print('grpc' in sys.modules, 'opentelemetry' in sys.modules)"
    )
    assert loaded == "True False\n"
