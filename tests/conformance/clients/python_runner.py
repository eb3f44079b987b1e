"""Does what the suite asks on Python's blocking client: see README. Knows no expectations.

Each action has a thread, and a client of its own: closing that is how a call of another thread is
cancelled.
"""

import json
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import assetd
from assetd import Client

from tests.conformance.clients import python_words as words
from tests.conformance.clients.python_words import Fields, write


class Action:
    """One request that goes on, or what it holds."""

    def __init__(self, request: Fields) -> None:
        self.request = request
        self.thread = threading.Thread(target=self._perform, name=request["id"])
        self._client = Client()
        self._released = threading.Event()
        self._is_cancelled = False
        self._do: dict[str, Callable[[], Fields | None]] = {
            "resolve": self._resolve,
            "fetch": self._fetch,
            "hold": self._hold,
            "push": self._push,
            "list": self._list,
            "list_files": self._list_files,
        }

    def cancel(self) -> None:
        """End it, wherever it is."""
        self._is_cancelled = True
        self._client.close()
        self._released.set()

    def release(self) -> None:
        """End its hold."""
        self._released.set()

    def _perform(self) -> None:
        key = self.request["id"]
        try:
            answer = self._do[self.request["do"]]()
            if self._is_cancelled:
                write({"id": key, "error": words.CANCELLED})
            elif answer is not None:
                write({"id": key, "answer": answer})
        except Exception as failure:  # noqa: BLE001 - told, whatever it is
            if self._is_cancelled:
                write({"id": key, "error": words.CANCELLED})
                return
            if not isinstance(failure, assetd.AssetdError):
                traceback.print_exc()
            write({"id": key, "error": words.error_fields(failure)})
        finally:
            self._client.close()

    def _resolve(self) -> Fields:
        arguments = words.lookup_arguments(self.request)
        return words.resolved_fields(self._client.resolve(self.request["spec"], **arguments))

    def _fetch(self) -> Fields:
        arguments = words.fetch_arguments(self.request)
        return words.asset_fields(self._client.fetch(self.request["spec"], **arguments))

    def _hold(self) -> None:
        key = self.request["id"]

        def tell_loss(error: assetd.AssetdError) -> None:
            write({"id": key, "lost": words.error_fields(error)})
            self._released.set()

        arguments = words.fetch_arguments(self.request)
        fetched = self._client.fetch(
            self.request["spec"], hold=True, on_hold_lost=tell_loss, **arguments
        )
        with fetched as asset:
            write({"id": key, "answer": words.asset_fields(asset)})
            self._released.wait()

    def _push(self) -> Fields:
        return words.pushed_fields(words.push_of(self._client, self.request)())

    def _list(self) -> Fields:
        pages = self._client.list(**words.list_arguments(self.request))
        return self._each((entry for page in pages for entry in page.entries), words.entry_fields)

    def _list_files(self) -> Fields:
        arguments = words.list_files_arguments(self.request)
        pages = self._client.list_files(self.request["spec"], **arguments)
        return self._each((entry for page in pages for entry in page.files), words.file_fields)

    def _each(self, entries: Iterator[Any], show: Callable[[Any], Fields]) -> Fields:
        """Tell the entries, as many as are wanted, and return how many they were."""
        limit, count = self.request.get("limit"), 0
        if limit != 0:
            for entry in entries:
                write({"id": self.request["id"], "entry": show(entry)})
                count += 1
                if count == limit:
                    break
        return {"count": count}


def main() -> None:
    """Serve on standard input and output."""
    actions: dict[str, Action] = {}
    write({"ready": {"language": "python", "fast_path": True}})
    for line in sys.stdin:
        request = json.loads(line)
        match request["do"]:
            case "close":
                break
            case "cancel" | "release" as what:
                if request["of"] in actions:
                    getattr(actions[request["of"]], what)()
            case _:
                actions[request["id"]] = action = Action(request)
                action.thread.start()
    for action in actions.values():
        if action.thread.is_alive():
            action.cancel()
    for action in actions.values():
        action.thread.join()


if __name__ == "__main__":
    main()
