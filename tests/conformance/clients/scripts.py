"""What a made-up daemon answers, from what a scenario's `script` says.

Lists of what comes of one call after another: `fetches` (each the events of its stream),
`resolves`, `lists` and `pushes`. In each of them `fail = CODE`, with `reason`, `message`,
`metadata`, `retry_after`, `details`, `domain` and `trailer`, ends a call.
"""

from collections.abc import Iterator
from typing import Any

from assetd.v1.asset_pb2 import AssetVersion
from assetd.v1.asset_service_pb2 import (
    FetchResponse,
    ListResponse,
    PushRequest,
    PushResponse,
    ResolveVersionResponse,
)
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from tests.clients.python.scripted import (
    VERSION,
    Context,
    Failure,
    FetchScript,
    OpenFetch,
    PushScript,
    ScriptedDaemon,
    completed,
    plays,
    progress,
    started,
)
from tests.conformance.clients.scenarios import Fields


def rehearse(daemon: ScriptedDaemon, script: Fields) -> None:
    """Let the daemon answer its next calls so, and forget what it was asked before."""
    for queued in (daemon.fetches, daemon.resolves, daemon.list_pages, daemon.pushes):
        queued.clear()
    for asked in (daemon.fetch_requests, daemon.resolve_requests, daemon.list_requests):
        asked.clear()
    daemon.push_records.clear()
    daemon.headers.clear()
    daemon.fetches.extend(map(_fetch, script.get("fetches", ())))
    daemon.resolves.extend(map(_resolve, script.get("resolves", ())))
    daemon.list_pages.extend(map(_page, script.get("lists", ())))
    daemon.pushes.extend(map(_push, script.get("pushes", ())))


def requests(daemon: ScriptedDaemon, method: str) -> list[dict[str, Any]]:
    """Return what the daemon was asked, by the names of the contract."""
    asked: dict[str, list[Any]] = {
        "fetch": daemon.fetch_requests,
        "resolve": daemon.resolve_requests,
        "list": daemon.list_requests,
        "push": [record.header for record in daemon.push_records],
    }
    return [_as_fields(message) for message in asked[method]]


def _as_fields(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


def _failure(said: Fields) -> Failure:
    return Failure(
        said["fail"],
        said.get("reason", ""),
        said.get("message", "it went wrong"),
        metadata=said.get("metadata"),
        retry_after_seconds=said.get("retry_after"),
        details=said.get("details", True),
        domain=said.get("domain", "assetd.v1"),
        trailer=said.get("trailer", True),
    )


def _fetch(events: list[Fields]) -> FetchScript:
    played = list(map(_event, events))
    if events and events[-1].get("stays"):
        return OpenFetch(*(event for event in played[:-1] if isinstance(event, FetchResponse)))
    return plays(*played)


def _event(said: Fields) -> FetchResponse | Failure:
    if "fail" in said:
        return _failure(said)
    if "started" in said:
        return started()
    if "completed" in said:
        return completed(path=said["completed"]) if said["completed"] else completed()
    if "progress" in said:
        return progress(said["progress"], said.get("attempt", 1))
    # A kind of event that this release does not know.
    return FetchResponse()


def _resolve(said: Fields) -> ResolveVersionResponse | Failure:
    if "fail" in said:
        return _failure(said)
    answer = ResolveVersionResponse(asset_version=VERSION)
    if "resolution" in said:
        answer.resolution = said["resolution"]
    return answer


def _page(said: Fields) -> ListResponse | Failure:
    if "fail" in said:
        return _failure(said)
    versions = (AssetVersion(name="nlp/ranker", version=one) for one in said["versions"])
    entries = [ListResponse.Entry(asset_version=version) for version in versions]
    return ListResponse(entries=entries, next_page_token=said.get("token", ""))


def _push(said: Fields) -> PushScript:
    failure = _failure(said)

    def script(_: Iterator[PushRequest], context: Context) -> Iterator[PushResponse]:
        failure.end(context)

    return script
