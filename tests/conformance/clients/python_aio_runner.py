"""Does what the suite asks on Python's client for asyncio: see README. Knows no expectations."""

import asyncio
import json
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any

import assetd
from assetd.aio import Client

from tests.conformance.clients import python_words as words
from tests.conformance.clients.python_words import Fields, write


class Session:
    """What goes on, by the ids of its requests."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._released: dict[str, asyncio.Event] = {}
        self._do: dict[str, Callable[[Fields], Coroutine[Any, Any, Fields | None]]] = {
            "resolve": self._resolve,
            "fetch": self._fetch,
            "hold": self._hold,
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
            answer = await self._do[request["do"]](request)
            if answer is not None:
                write({"id": key, "answer": answer})
        except asyncio.CancelledError:
            write({"id": key, "error": words.CANCELLED})
        except (assetd.AssetdError, OSError, ValueError) as failure:
            if not isinstance(failure, assetd.AssetdError):
                traceback.print_exc()
            write({"id": key, "error": words.error_fields(failure)})
        finally:
            del self._tasks[key]

    async def _resolve(self, request: Fields) -> Fields:
        found = await self._client.resolve(request["spec"], **words.lookup_arguments(request))
        return words.resolved_fields(found)

    async def _fetch(self, request: Fields) -> Fields:
        asset = await self._client.fetch(request["spec"], **words.fetch_arguments(request))
        return words.asset_fields(asset)

    async def _hold(self, request: Fields) -> None:
        released = self._released[request["id"]] = asyncio.Event()

        def tell_loss(error: assetd.AssetdError) -> None:
            write({"id": request["id"], "lost": words.error_fields(error)})
            released.set()

        arguments = words.fetch_arguments(request)
        fetching = self._client.fetch(
            request["spec"], hold=True, on_hold_lost=tell_loss, **arguments
        )
        try:
            async with fetching as asset:
                write({"id": request["id"], "answer": words.asset_fields(asset)})
                await released.wait()
        finally:
            del self._released[request["id"]]

    async def _push(self, request: Fields) -> Fields:
        return words.pushed_fields(await words.push_of(self._client, request)())

    async def _list(self, request: Fields) -> Fields:
        pages = self._client.list(**words.list_arguments(request))
        entries = (entry async for page in pages for entry in page.entries)
        return await each(request, entries, words.entry_fields)

    async def _list_files(self, request: Fields) -> Fields:
        pages = self._client.list_files(request["spec"], **words.list_files_arguments(request))
        entries = (entry async for page in pages for entry in page.files)
        return await each(request, entries, words.file_fields)


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


async def main() -> None:
    """Serve on standard input and output."""
    requests = asyncio.StreamReader(limit=1 << 24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    async with Client() as client:
        write({"ready": {"language": "python-aio", "fast_path": True}})
        await Session(client).serve(requests)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
