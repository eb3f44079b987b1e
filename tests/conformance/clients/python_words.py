"""The words of the line protocol in Python: requests read, answers shown. For both runners."""

import json
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import assetd
import assetd.aio
from assetd.v1 import asset_pb2
from assetd.v1.asset_service_pb2 import ListFilesResponse, ListResponse, ResolveVersionResponse

Fields = dict[str, Any]

# What the helper sends, the daemon receives.
_PHASES = {"SENDING": "RECEIVING"}
_output = threading.Lock()


def write(line: Fields) -> None:
    """Say one line; all at once, so that none is in another."""
    with _output:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


# Requests


def only_given(request: Fields, *names: str) -> Fields:
    """Return the arguments of a call that the request names."""
    return {name: request[name] for name in names if request.get(name) is not None}


def lookup_arguments(request: Fields) -> Fields:
    """Return the arguments of a resolve."""
    arguments = only_given(request, "store_timeout", "timeout")
    return arguments | freshness_argument(request)


def freshness_argument(request: Fields) -> Fields:
    """Return whom to ask, in Python's words."""
    return {"freshness": request["freshness"].lower()} if request.get("freshness") else {}


def fetch_arguments(request: Fields) -> Fields:
    """Return the arguments of a fetch, its progress told among them."""
    names = ("include", "exclude", "part_only", "verify", "force_download")
    arguments = only_given(request, *names, "expected_digest", "progress_interval")

    def tell(progress: asset_pb2.FetchProgress) -> None:
        report = {
            "phase": word(asset_pb2.FetchPhase, progress.phase),
            "present_bytes": progress.present_bytes,
            "total_bytes": known(progress, "total_bytes"),
            "attempt": progress.attempt,
        }
        write({"id": request["id"], "progress": report})

    return arguments | lookup_arguments(request) | {"on_progress": tell}


def push_of(client: assetd.Client | assetd.aio.Client, request: Fields) -> Callable[[], Any]:
    """Return the push that is asked for, ready to be called."""
    arguments = only_given(request, "labels", "push_id", "validate_only", "timeout")
    done = {"received_bytes": 0, "stored_bytes": 0}

    def tell(progress: assetd.PushProgress) -> None:
        if progress.phase is assetd.PushPhase.SENDING:
            done["received_bytes"] = progress.done_bytes
        elif progress.phase is assetd.PushPhase.STORING:
            done["stored_bytes"] = progress.done_bytes
        phase = _PHASES.get(progress.phase.name, progress.phase.name)
        report = {"phase": phase, **done, "total_bytes": progress.total_bytes}
        write({"id": request["id"], "progress": report})

    push: Callable[..., Any]
    if request.get("staged"):
        push = partial(client.push_staged, request["staged"])
    elif request.get("uri"):
        push = partial(client.push_from, request["uri"])
    else:
        push = partial(client.push, request["source"], exclude=request.get("exclude") or ())
    return partial(
        push,
        request["spec"],
        new=request.get("mode") == "NEW",
        update=request.get("mode") == "UPDATE",
        bump_major=request.get("bump") == "MAJOR",
        on_progress=tell,
        **arguments,
    )


def list_arguments(request: Fields) -> Fields:
    """Return the arguments of a listing of versions."""
    arguments = only_given(request, "prefix", "latest_only", "full", "page_size", "timeout")
    return arguments | ({"scope": request["scope"].lower()} if request.get("scope") else {})


def list_files_arguments(request: Fields) -> Fields:
    """Return the arguments of a listing of files."""
    arguments = only_given(request, "include", "exclude", "page_size", "timeout")
    return arguments | freshness_argument(request)


# Answers


def word(enum: Any, number: int) -> str:
    """Return the name of an enum's value without its prefix; a newer daemon's is not specified."""
    zero: str = enum.Name(0)
    name: str = enum.Name(number) if number in enum.values() else zero
    return name.removeprefix(zero.removesuffix("UNSPECIFIED"))


def known(message: Any, field: str) -> Any:
    """Return a field, or null where it is not known."""
    return getattr(message, field) if message.HasField(field) else None


def resolved_fields(found: ResolveVersionResponse) -> Fields:
    """Return what is told of a version that was resolved."""
    version, state = found.asset_version, found.cache_state
    return {
        "name": version.name,
        "version": version.version,
        "kind": word(asset_pb2.AssetKind, version.kind),
        "size_bytes": known(version, "size_bytes"),
        "digest": version.digest,
        "resolution": word(asset_pb2.Resolution, found.resolution),
        "presence": word(asset_pb2.CacheState.Presence, state.presence),
        "path": state.path,
        "relative_path": state.relative_path,
    }


def asset_fields(asset: assetd.Asset) -> Fields:
    """Return what is told of a version that was fetched."""
    return {
        "name": asset.name,
        "version": asset.version,
        "kind": asset.kind.name,
        "path": str(asset.path),
        "relative_path": asset.relative_path,
        "source": asset.source.name,
        "resolution": asset.resolution.name,
        "verification": asset.verification.name,
        "size_bytes": asset.size_bytes,
        "file_count": asset.file_count,
        "transferred_bytes": asset.transferred_bytes,
        "joined": asset.joined,
        "reused_bytes": asset.reused_bytes,
        "digest": asset.digest,
    }


def pushed_fields(pushed: assetd.PushedVersion) -> Fields:
    """Return what is told of a version that was pushed."""
    return {
        "name": pushed.name,
        "version": str(pushed),
        "digest": pushed.digest,
        "size_bytes": pushed.size_bytes,
        "already_existed": pushed.already_existed,
        "push_id": pushed.push_id,
        "labels": dict(pushed.labels),
    }


def entry_fields(entry: ListResponse.Entry) -> Fields:
    """Return what is told of a version in a listing."""
    version = entry.asset_version
    return {
        "spec": f"{version.name}:{version.version}",
        "presence": word(asset_pb2.CacheState.Presence, entry.cache_state.presence),
        "size_bytes": known(version, "size_bytes"),
        "digest": version.digest,
        "in_store": known(entry, "in_store"),
    }


def file_fields(entry: ListFilesResponse.Entry) -> Fields:
    """Return what is told of a file of a version."""
    return {
        "path": entry.file.path,
        "size_bytes": known(entry.file, "size_bytes"),
        "digest": entry.file.digest,
        "cached": entry.cached,
    }


CANCELLED: Fields = {
    "reason": "CANCELLED",
    "code": "CANCELLED",
    "message": "cancelled",
    "metadata": {},
}


def error_fields(failure: Exception) -> Fields:
    """Return a failure as the protocol has it."""
    if not isinstance(failure, assetd.AssetdError):
        return {"reason": "", "code": "UNKNOWN", "message": str(failure), "metadata": {}}
    is_late = isinstance(failure, assetd.CallTimeoutError)
    metadata: Mapping[str, str] = failure.metadata
    return {
        "reason": "DEADLINE_EXCEEDED" if is_late else failure.reason,
        "code": failure.code,
        "message": failure.message,
        "metadata": dict(metadata),
    }
