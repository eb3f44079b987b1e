"""Does what the suite asks on the Python client: see README. Knows nothing of what is expected."""

import asyncio
import json
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import assetd
from assetd.aio import Client
from assetd.v1 import asset_pb2, asset_service_pb2

Fields = dict[str, Any]

_PHASES = {"HASHING": "HASHING", "SENDING": "RECEIVING"}


def write(line: Fields) -> None:
    """Say one line; all at once, so that none is in another."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def word(enum: Any, number: int) -> str:
    """Return the name of an enum's value without its prefix; a newer daemon's is not specified."""
    zero: str = enum.Name(0)
    name: str = enum.Name(number) if number in enum.values() else zero
    return name.removeprefix(zero.removesuffix("UNSPECIFIED"))


def known(message: Any, field: str) -> Any:
    """Return a field, or null where it is not known."""
    return getattr(message, field) if message.HasField(field) else None


def only_given(request: Fields, **names: str) -> Fields:
    """Return the arguments of a call: those of the request, by the names that the call has."""
    return {name: request[said] for name, said in names.items() if request.get(said) is not None}


def lookup(request: Fields) -> Fields:
    """Return the arguments that all calls about a spec take."""
    arguments = only_given(request, store_timeout="store_timeout", timeout="timeout")
    return arguments | freshness(request)


def freshness(request: Fields) -> Fields:
    """Return whom to ask, in Python's words."""
    return {"freshness": request["freshness"].lower()} if request.get("freshness") else {}


class Session:
    """What goes on, by the ids of its requests."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._released: dict[str, asyncio.Event] = {}
        self._do: dict[str, Callable[[Fields], Coroutine[Any, Any, Fields]]] = {
            "resolve": self._resolve,
            "fetch": self._fetch,
            "push": self._push,
            "list": self._list,
            "list_files": self._list_files,
        }

    async def serve(self, requests: asyncio.StreamReader) -> None:
        """Do what is asked until the end of the input."""
        while line := await requests.readline():
            request = json.loads(line)
            match request["do"]:
                case "close":
                    break
                case "cancel":
                    if request["of"] in self._tasks:
                        self._tasks[request["of"]].cancel()
                case "release":
                    if request["of"] in self._released:
                        self._released[request["of"]].set()
                case _:
                    self._tasks[request["id"]] = asyncio.create_task(self._perform(request))
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values())

    async def _perform(self, request: Fields) -> None:
        key = request["id"]
        try:
            if request["do"] == "hold":
                await self._hold(request)
            else:
                write({"id": key, "answer": await self._do[request["do"]](request)})
        except asyncio.CancelledError:
            write({"id": key, "error": error_fields("CANCELLED", "CANCELLED", "cancelled")})
        except assetd.AssetdError as failure:
            write({"id": key, "error": shown(failure)})
        except (OSError, ValueError) as failure:
            traceback.print_exc()
            write({"id": key, "error": error_fields("", "UNKNOWN", str(failure))})
        finally:
            del self._tasks[key]

    async def _resolve(self, request: Fields) -> Fields:
        found = await self._client.resolve(request["spec"], **lookup(request))
        version, state = found.asset_version, found.cache_state
        return {
            **version_fields(version),
            "resolution": word(asset_pb2.Resolution, found.resolution),
            "presence": word(asset_pb2.CacheState.Presence, state.presence),
            "path": state.path,
            "relative_path": state.relative_path,
        }

    def _fetching(self, request: Fields, *, hold: bool) -> Awaitable[assetd.Asset]:
        names = ("include", "exclude", "part_only", "verify", "force_download")
        others = ("expected_digest", "progress_interval")
        arguments = only_given(request, **{name: name for name in names + others})

        def tell(progress: asset_pb2.FetchProgress) -> None:
            report = {
                "phase": word(asset_pb2.FetchPhase, progress.phase),
                "present_bytes": progress.present_bytes,
                "total_bytes": known(progress, "total_bytes"),
                "attempt": progress.attempt,
            }
            write({"id": request["id"], "progress": report})

        return self._client.fetch(
            request["spec"], hold=hold, on_progress=tell, **arguments, **lookup(request)
        )

    async def _fetch(self, request: Fields) -> Fields:
        return asset_fields(await self._fetching(request, hold=False))

    async def _hold(self, request: Fields) -> None:
        released = self._released[request["id"]] = asyncio.Event()
        try:
            with await self._fetching(request, hold=True) as asset:
                write({"id": request["id"], "answer": asset_fields(asset)})
                await released.wait()
        finally:
            del self._released[request["id"]]

    async def _push(self, request: Fields) -> Fields:
        arguments = only_given(
            request,
            labels="labels",
            push_id="push_id",
            validate_only="validate_only",
            timeout="timeout",
        )
        push: Callable[..., Awaitable[assetd.PushedVersion]]
        if request.get("staged"):
            push, source = self._client.push_staged, request["staged"]
        elif request.get("uri"):
            push, source = self._client.push_from, request["uri"]
        else:
            push = partial(self._client.push, exclude=request.get("exclude") or ())
            source = request["source"]
        done = {"received_bytes": 0, "stored_bytes": 0}

        def tell(progress: assetd.PushProgress) -> None:
            if progress.phase is assetd.PushPhase.SENDING:
                done["received_bytes"] = progress.done_bytes
            elif progress.phase is assetd.PushPhase.STORING:
                done["stored_bytes"] = progress.done_bytes
            phase = _PHASES.get(progress.phase.name, progress.phase.name)
            report = {"phase": phase, **done, "total_bytes": progress.total_bytes}
            write({"id": request["id"], "progress": report})

        pushed = await push(
            source,
            request["spec"],
            new=request.get("mode") == "NEW",
            update=request.get("mode") == "UPDATE",
            bump_major=request.get("bump") == "MAJOR",
            on_progress=tell,
            **arguments,
        )
        return {
            "name": pushed.name,
            "version": str(pushed),
            "digest": pushed.digest,
            "size_bytes": pushed.size_bytes,
            "already_existed": pushed.already_existed,
            "push_id": pushed.push_id,
            "labels": dict(pushed.labels),
        }

    async def _list(self, request: Fields) -> Fields:
        names = ("latest_only", "full", "page_size", "timeout")
        arguments = only_given(request, **{name: name for name in names})
        if request.get("scope"):
            arguments["scope"] = request["scope"].lower()
        pages = self._client.list(request.get("prefix") or "", **arguments)

        def show(entry: asset_service_pb2.ListResponse.Entry) -> Fields:
            version = entry.asset_version
            presence = entry.cache_state.presence
            return {
                "spec": f"{version.name}:{version.version}",
                "presence": word(asset_pb2.CacheState.Presence, presence),
                "size_bytes": known(version, "size_bytes"),
                "digest": version.digest,
                "in_store": known(entry, "in_store"),
            }

        return await each(request, (entry async for page in pages for entry in page.entries), show)

    async def _list_files(self, request: Fields) -> Fields:
        names = ("include", "exclude", "page_size", "timeout")
        arguments = only_given(request, **{name: name for name in names}) | freshness(request)
        pages = self._client.list_files(request["spec"], **arguments)

        def show(entry: asset_service_pb2.ListFilesResponse.Entry) -> Fields:
            return {
                "path": entry.file.path,
                "size_bytes": known(entry.file, "size_bytes"),
                "digest": entry.file.digest,
                "cached": entry.cached,
            }

        return await each(request, (entry async for page in pages for entry in page.files), show)


async def each(
    request: Fields, entries: AsyncIterator[Any], show: Callable[[Any], Fields]
) -> Fields:
    """Tell the entries, as many as are wanted, and return how many they were."""
    limit, count = request.get("limit"), 0
    if limit != 0:
        async for entry in entries:
            write({"id": request["id"], "entry": show(entry)})
            count += 1
            if count == limit:
                break
    return {"count": count}


def version_fields(version: asset_pb2.AssetVersion) -> Fields:
    """Return what is told of a version."""
    return {
        "name": version.name,
        "version": version.version,
        "kind": word(asset_pb2.AssetKind, version.kind),
        "size_bytes": known(version, "size_bytes"),
        "digest": version.digest,
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


def shown(failure: assetd.AssetdError) -> Fields:
    """Return a failure as the protocol has it."""
    reason = failure.reason
    if isinstance(failure, assetd.CallTimeoutError):
        reason = "DEADLINE_EXCEEDED"
    return error_fields(reason, failure.code, failure.message, failure.metadata)


def error_fields(
    reason: str, code: str, message: str, metadata: Mapping[str, str] | None = None
) -> Fields:
    """Return what is told of a failure."""
    return {"reason": reason, "code": code, "message": message, "metadata": dict(metadata or {})}


async def main() -> None:
    """Serve on standard input and output."""
    requests = asyncio.StreamReader(limit=1 << 24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    async with Client() as client:
        write({"ready": {"language": "python", "fast_path": True}})
        await Session(client).serve(requests)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
