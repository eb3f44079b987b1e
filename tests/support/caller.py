"""A caller in a process of its own: fetches when it is told to, and hashes what it got.

Started as a module with the daemon's address and a spec. Says `ready` on standard output, waits for
a line on standard input, fetches, says `started` when the daemon does, and at the end `<sha256>
<bytes that were transferred>`.
"""

import sys
from pathlib import Path

from assetd import Client
from assetd.v1.asset_service_pb2 import FetchResponse

from tests.support.trees import sha256_of


def main(address: str, spec: str) -> None:
    """Be one caller."""
    with Client(address, caller="one of many") as client:
        # Imports what a first call imports, so that a stagger is one of calls.
        client.status()
        _say("ready")
        sys.stdin.readline()
        asset = client.fetch(spec, on_event=_say_that_it_started)
        _say(f"{sha256_of(Path(asset))} {asset.transferred_bytes}")


def _say_that_it_started(event: FetchResponse) -> None:
    if event.HasField("started"):
        _say("started")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
