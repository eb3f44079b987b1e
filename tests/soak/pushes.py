"""A crowd that pushes thousands of versions of one asset, while answers are cut.

`python -m tests.soak.pushes`. Round after round to the same asset, of which all versions are judged
after every tenth: all that was ever acknowledged is listed, once, sorted, and whole. Beside that it
tells how the time of a push grows with the versions that are there.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Final

from tests.soak.running import Soak, arguments
from tests.support.push_crowd import STORES, Crowd, acknowledged, crowded_store

_PUSHERS: Final = 8
# So many are between two places where the soak can be interrupted.
_VERSIONS_A_ROUND: Final = 5
_ROUNDS_A_LOOK: Final = 10
_WHOLE: Final = "whole.json"


def push(soak: Soak, kind: str, folder: Path, crowd: Crowd, rounds: int) -> bool:
    """Let the crowd push all rounds to one store; tell whether there was time for all."""
    if len(_whole(folder)) != len([*folder.glob("round*")]):
        # The last run was cut off in the middle of a round: who acknowledged what is not known.
        shutil.rmtree(folder)
    with crowded_store(kind, folder, crowd) as store:
        for number in range(len(_whole(folder)), rounds):
            if soak.is_over:
                return False
            began, before = time.monotonic(), store.request_count
            findings = store.push(number)
            seconds = time.monotonic() - began
            if number + 1 == rounds or (number + 1) % _ROUNDS_A_LOOK == 0:
                findings += store.judge()
            round_folder = folder / f"round{number:03}"
            calls = sum(line["tries"] for line in acknowledged(round_folder))
            whole = {
                "seconds": seconds,
                "calls": calls,
                "requests": store.request_count - before,
                "findings": findings,
            }
            (round_folder / _WHOLE).write_text(json.dumps(whole))
            soak.tell(f"{kind}: round {number + 1} of {rounds}: {_a_push(crowd, [whole])}")
    _note(soak, kind, crowd, _whole(folder))
    shutil.rmtree(folder)
    return True


def _whole(folder: Path) -> list[dict[str, Any]]:
    """What is noted of the rounds that were pushed to their end."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"round*/{_WHOLE}"))]


def _note(soak: Soak, kind: str, crowd: Crowd, rounds: list[dict[str, Any]]) -> None:
    findings = [finding for one in rounds for finding in one["findings"]]
    calls = sum(one["calls"] for one in rounds)
    soak.note(kind, findings, {"pushes": crowd.total * len(rounds), "calls": calls})
    quarter = max(1, len(rounds) // 4)
    soak.tell(f"{kind}: in the first quarter {_a_push(crowd, rounds[:quarter])}")
    soak.tell(f"{kind}: in the last quarter {_a_push(crowd, rounds[-quarter:])}")


def _a_push(crowd: Crowd, rounds: list[dict[str, Any]]) -> str:
    """Say what a push took, of S3 also in requests: those do not depend on who else is at work."""
    pushes = crowd.total * len(rounds)
    milliseconds = sum(one["seconds"] for one in rounds) / pushes * 1000
    requests = sum(one["requests"] for one in rounds) / pushes
    return f"{milliseconds:.1f} ms and {requests:.1f} requests a push"


def main() -> int:
    """Run, and return the exit code."""
    parser = arguments("Push to one asset in a crowd.")
    parser.add_argument("--versions", type=int, default=200, help="of each pusher")
    parser.add_argument("--daemons", type=int, default=8, help="with 8 pushers each")
    parser.add_argument("--store", choices=STORES, action="append", help="only this")
    given = parser.parse_args()
    soak, finished = Soak("pushes", given), True
    crowd = Crowd(given.daemons, _PUSHERS, _VERSIONS_A_ROUND, given.seed)
    for kind in given.store or STORES:
        folder = given.states / f"pushes-{given.seed}-{kind}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not soak.has_done(kind):
            finished = (
                push(soak, kind, folder, crowd, given.versions // crowd.versions) and finished
            )
    return soak.end(finished=finished)


if __name__ == "__main__":
    sys.exit(main())
