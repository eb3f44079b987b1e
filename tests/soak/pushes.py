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

_ROUNDS: Final = 20
_WHOLE: Final = "whole.json"


def push(soak: Soak, kind: str, folder: Path, crowd: Crowd) -> bool:
    """Let the crowd push all rounds to one store; tell whether there was time for all."""
    findings: list[str] = []
    with crowded_store(kind, folder, crowd) as store:
        for number in range(_ROUNDS):
            if (folder / f"round{number:03}" / _WHOLE).exists():
                continue
            if soak.is_over:
                return False
            began = time.monotonic()
            found = store.push(number)
            pushing = {"seconds": time.monotonic() - began, "findings": found}
            (folder / f"round{number:03}" / _WHOLE).write_text(json.dumps(pushing))
            soak.tell(f"{kind}: round {number + 1} of {_ROUNDS}: {_told(folder, number)}")
    rounds = [_told(folder, number) for number in range(_ROUNDS)]
    findings = [finding for one in _wholes(folder) for finding in one["findings"]]
    soak.note(kind, findings, {"pushes": crowd.total * _ROUNDS, "calls": _calls(folder)})
    growth = sum(one[1] for one in rounds[-5:]) / sum(one[1] for one in rounds[:5])
    soak.tell(f"{kind}: the last quarter took {growth:.2f} times as long as the first")
    shutil.rmtree(folder)
    return True
