"""A thousand histories of modelkit and assetd, each alone and both together: what differs?

`python -m tests.soak.differential`. Each tenth history is lived through on a real S3 server, the
others on folders. A difference that is not listed is shrunk and told.
"""

import sys
from typing import Final

from tests.differential.differences import IN_COMPANY, ROWS
from tests.differential.running import BUCKET, Differential, Stores, running_differential
from tests.differential.writing import history
from tests.soak.running import Soak, arguments
from tests.support.scratch import scratch_folder
from tests.support.versitygw import versitygw

_KEYS: Final = [row.key for row in (*ROWS, *IN_COMPANY)]
_ON_S3_EACH: Final = 10


def live(soak: Soak, differential: Differential, stores: Stores, number: int) -> None:
    """Live through one history, and note what came of it."""
    lived = differential.live(history(soak.seed, number), stores)
    findings = []
    if lived.difference:
        findings.append(differential.explain(history(soak.seed, number), stores))
    figures = {
        "histories": 1,
        "steps": lived.step_count,
        **{f"of row {key}": 1 for key in lived.used},
    }
    soak.note(str(number), findings, figures)


def main() -> int:
    """Run, and return the exit code."""
    parser = arguments("Compare modelkit and assetd, history by history.")
    parser.add_argument("--histories", type=int, default=1000)
    given = parser.parse_args()
    soak = Soak("differential", given)
    with (
        scratch_folder() as folder,
        versitygw(folder / "s3") as server,
        running_differential(folder) as differential,
    ):
        server.make_bucket(BUCKET)
        folders, prefixes = Stores(), Stores(server)
        for number in range(given.histories):
            if soak.is_over:
                return soak.end(finished=False)
            if not soak.has_done(str(number)):
                stores = prefixes if number % _ON_S3_EACH == 0 else folders
                live(soak, differential, stores, number)
    unseen = [key for key in _KEYS if not soak.figures[f"of row {key}"]]
    if unseen:
        soak.note("rows", [f"no history has shown {', '.join(unseen)}"], {})
    return soak.end(finished=True)


if __name__ == "__main__":
    sys.exit(main())
