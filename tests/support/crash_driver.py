"""Runs operations of the cache, each in a process, and cuts the power before a certain call.

Run as a module: each line of its input is an order as JSON, and each is obeyed by a fork of this
process, so that nothing outlives a crash. Single-threaded, therefore; `crashing` uses it.
"""

import json
import os
import sys
from typing import Any

from assetd_server.cache.layout import AssetsDir

from tests.support.crash_operations import OPERATIONS
from tests.support.file_systems import RecordingFileSystem
from tests.support.loop_disks import Cut, cut_power
from tests.support.mutants import MUTANTS

_ACKNOWLEDGED = b"acknowledged\n"


def run(order: dict[str, Any], answers: int) -> None:
    """Obey one order, and end as a machine without power does; undisturbed where no cut is asked.

    What is acknowledged is said at once, and outside the file system that is about to stop.
    """
    fs_type = type("Cutting", (RecordingFileSystem, MUTANTS[order["mutant"]]), {})
    fs: RecordingFileSystem = fs_type()
    assets_dir = AssetsDir(order["root"], fs)
    power = os.open(order["root"], os.O_RDONLY)
    fs.calls.clear()

    def cut() -> None:
        cut_power(power, Cut(order["cut"]))
        os._exit(0)

    if order["number"]:
        fs.before_call(order["number"], cut)
    operation = OPERATIONS[order["operation"]]
    operation.act(assets_dir)
    os.write(answers, _ACKNOWLEDGED)
    operation.clean_up(assets_dir)
    if order["number"]:
        cut()
    os.write(answers, json.dumps([str(call) for call in fs.calls]).encode())
    os._exit(0)


def obey(order: dict[str, Any]) -> dict[str, Any]:
    """Obey in a fork, and return what it said and how it ended."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            run(order, writing)
        finally:
            # Only what an operation raised comes here; its traceback goes to standard error.
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        said = answers.read()
    _, status = os.waitpid(pid, 0)
    acknowledged, _, calls = said.rpartition(_ACKNOWLEDGED)
    return {
        "failed": status != 0,
        "acknowledged": said.startswith(_ACKNOWLEDGED),
        "calls": json.loads(calls or "[]") if acknowledged == b"" else [],
    }


def main() -> None:
    """Obey until there are no more orders."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(obey(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
