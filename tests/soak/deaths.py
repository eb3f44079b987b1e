"""A daemon that dies every two seconds, and eight callers who want versions from it.

`python -m tests.soak.deaths`: minute by minute, on a new ASSETS_DIR each.
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.soak.running import Soak, arguments
from tests.support.dying import die_again_and_again


def die_for_a_minute(soak: Soak, minute: int) -> None:
    """Let a daemon die for a minute, and note what was found."""
    ends = time.monotonic() + 60
    with tempfile.TemporaryDirectory(prefix="assetd-deaths-") as folder:
        toll = die_again_and_again(
            Path(folder), soak.seed * 1000 + minute, lambda _: time.monotonic() >= ends
        )
    figures = {
        "deaths": toll.deaths,
        "deaths in a fetch": toll.deaths_in_a_fetch,
        "fetches": toll.fetches,
    }
    soak.note(str(minute), [f"minute {minute}: {one}" for one in toll.findings], figures)


def main() -> int:
    """Run, and return the exit code."""
    parser = arguments("Let a daemon die again and again, and look at what its callers see.")
    parser.add_argument("--lives", type=int, default=10, help="minutes in all (10)")
    given = parser.parse_args()
    soak, minutes = Soak("deaths", given), range(given.lives)
    for minute in minutes:
        if not soak.has_done(str(minute)) and not soak.is_over:
            die_for_a_minute(soak, minute)
    return soak.end(finished=all(soak.has_done(str(minute)) for minute in minutes))


if __name__ == "__main__":
    sys.exit(main())
