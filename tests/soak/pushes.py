"""A crowd that pushes thousands of versions of one asset, while answers are cut.

`python -m tests.soak.pushes`. Round after round to the same asset, of which all versions are judged
after each: all that was ever acknowledged is listed, once, sorted, and whole. Beside that it tells
how the time of a push grows with the versions that are there.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Final

from tests.soak.running import Soak, arguments
from tests.support.push_crowd import STORES, Crowd, acknowledged, crowded_store

_DAEMONS: Final = 8
_PUSHERS: Final = 8
# So many are between two places where the soak can be interrupted.
_VERSIONS_A_ROUND: Final = 5
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
            began = time.monotonic()
            findings = store.push(number)
            round_folder = folder / f"round{number:03}"
            calls = sum(line["tries"] for line in acknowledged(round_folder))
            whole = {"seconds": time.monotonic() - began, "calls": calls, "findings": findings}
            (round_folder / _WHOLE).write_text(json.dumps(whole))
            soak.tell(f"{kind}: round {number + 1} of {rounds} in {whole['seconds']:.1f} s")
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
    first, last = (
        sum(r["seconds"] for r in some) for some in (rounds[:quarter], rounds[-quarter:])
    )
    soak.tell(f"{kind}: a push of the last quarter takes {last / first:.2f} of one of the first")


def main() -> int:
    """Run, and return the exit code."""
    parser = arguments("Push to one asset in a crowd.")
    parser.add_argument("--versions", type=int, default=200, help="of each of the 64 pushers")
    parser.add_argument("--store", choices=STORES, action="append", help="only this")
    given = parser.parse_args()
    soak, finished = Soak("pushes", given), True
    crowd = Crowd(_DAEMONS, _PUSHERS, _VERSIONS_A_ROUND, given.seed)
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
