"""Some of a crowd of pushers, in a process of their own, who go on until each push is acknowledged.

Started as a module. Each acknowledgement is a line of JSON in a log of this process, fsynced before
the next push begins: whoever judges knows what was promised, whatever happens to this process.
"""

import argparse
import json
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import grpc

from tests.support.buckets import digest_of
from tests.support.versions import Content
from tests.support.wire_pushes import Outcome, new_push_id, push

# What a repeat mends: nothing else may come of a push that nobody contradicts.
_PASSING: Final = {"CANCELLED", "UNAVAILABLE", "ABORTED"}
_TRIES: Final = 200
_CUT_EVERY: Final = 20
_LONGEST_WAIT_SECONDS: Final = 1.0


class Log:
    """The lines that this process has promised."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._turn = threading.Lock()

    def append(self, **fields: object) -> None:
        """Add a line, durably."""
        with self._turn:
            os.write(self._descriptor, json.dumps(fields).encode() + b"\n")
            os.fsync(self._descriptor)


class Pusher:
    """One of the crowd: pushes one version after another."""

    def __init__(self, channel: grpc.Channel, log: Log, name: str, number: int, seed: int) -> None:
        self._channel = channel
        self._log = log
        self._name = name
        self._number = number
        self._source = random.Random(f"{seed} {number}")

    def run(self, turns: range) -> None:
        """Push a version a turn; half of the crowd takes the next number, half brings its own."""
        for turn in turns:
            is_bump = self._number % 2 == 0
            spec = f"{self._name}:1" if is_bump else f"{self._name}:{self._number + 2}.{turn}"
            content = self._content(turn)
            tries, outcome = self._push(spec, content)
            self._log.append(
                version=outcome.version,
                digest=digest_of(content),
                tries=tries,
                failure="" if outcome.is_ok else str(outcome),
                seconds=time.monotonic(),
            )

    def _content(self, turn: int) -> Content:
        """Return what nobody else pushes."""
        data = f"{self._number} {turn} ".encode() * self._source.randint(1, 300)
        return data if self._source.random() < 0.5 else {"part": data, "sub/other": data[:10]}

    def _push(self, spec: str, content: Content) -> tuple[int, Outcome]:
        push_id = new_push_id()
        for tries in range(1, _TRIES + 1):
            is_cut = self._source.randrange(_CUT_EVERY) == 0
            cut_after = self._source.randrange(5) if is_cut else None
            outcome = push(self._channel, spec, content, push_id=push_id, cut_after=cut_after)
            if outcome.code not in _PASSING:
                break
            if not is_cut:
                self._wait(tries)
        return tries, outcome

    def _wait(self, tries: int) -> None:
        longest = min(_LONGEST_WAIT_SECONDS, 0.05 * 2 ** min(tries, 10))
        threading.Event().wait(self._source.random() * longest)


def main() -> None:
    """Push, and end when everything is acknowledged."""
    parser = argparse.ArgumentParser()
    for name in ("address", "name", "log"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("first", "pushers", "turn", "versions", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    options = [("grpc.default_authority", "localhost")]
    with (
        grpc.insecure_channel(given.address, options=options) as channel,
        ThreadPoolExecutor(given.pushers) as threads,
    ):
        log = Log(Path(given.log))
        numbers = range(given.first, given.first + given.pushers)
        pushers = [Pusher(channel, log, given.name, number, given.seed) for number in numbers]
        turns = range(given.turn, given.turn + given.versions)
        for running in [threads.submit(pusher.run, turns) for pusher in pushers]:
            running.result()


if __name__ == "__main__":
    main()
