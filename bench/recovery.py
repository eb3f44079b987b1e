"""`python -m bench.recovery`: how soon a daemon serves over 100,000 versions, page cache dropped.

Half of them files, half folders. Twice: over a tree that no daemon has seen, and after that one has
ended. Prints seconds from the start of the process to the first hit, and to the status with the
right sum of bytes. Needs root, to drop the page cache.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from assetd_server.cache.layout import VersionPaths
from assetd_server.model import AssetName
from assetd_server.versioning import Version

from tests.support.daemon import EAGER, Daemon
from tests.support.versions import put_ours
from tests.support.waiting import wait_until

ASSETS = 1000
FILE = b"x" * 10
FOLDER = {"a": FILE, "b": FILE}
LIMIT_SECONDS = 5.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.recovery", description=__doc__)
    parser.add_argument("--versions", type=int, default=100_000, help="how many (100000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as name:
        total_bytes = fill(Path(name) / "assets", options.versions)
        daemon = Daemon(
            Path(name) / "assets",
            store=Path(name) / "store",
            variables={"ASSETD_CACHE_MAX_BYTES": "1TiB"},
            command=(sys.executable, "-m", "assetd_server"),
        )
        figures = {
            "a tree that no daemon has seen": seconds_of_a_start(daemon, total_bytes),
            "after another daemon": seconds_of_a_start(daemon, total_bytes),
        }
        daemon.forget()
    print(json.dumps(figures) if options.json else "\n".join(lines(figures)))


def fill(assets_dir: Path, count: int) -> int:
    """Put versions into an ASSETS_DIR as a daemon leaves them; return their bytes."""
    for number in range(count):
        asset = number % ASSETS
        name = AssetName(f"team{asset % 10}/asset{asset}")
        paths = VersionPaths(name, Version.of(0, number // ASSETS))
        put_ours(assets_dir, FILE if asset % 2 else FOLDER, paths)
    files = sum(number % ASSETS % 2 for number in range(count))
    return files * len(FILE) + (count - files) * sum(map(len, FOLDER.values()))


def seconds_of_a_start(daemon: Daemon, total_bytes: int) -> dict[str, float]:
    """Start the daemon on a cold page cache, ask it, and stop it."""
    subprocess.run(["sync"], check=True)
    Path("/proc/sys/vm/drop_caches").write_text("3")
    began = time.perf_counter()
    process = daemon.launch()
    # gRPC dials an address that nobody serves less and less often: its patience is not measured.
    wait_until(daemon.socket.exists, "the socket")
    with daemon.client(EAGER) as client:
        client.fetch("team1/asset1:0.0", verify=False, store_timeout=1.0)
        first_hit = time.perf_counter() - began
        status = client.status()
        right_total = time.perf_counter() - began
    assert status.used_bytes == total_bytes, (status.used_bytes, total_bytes)
    process.terminate()
    process.wait()
    return {"first hit": first_hit, "right sum of bytes": right_total}


def lines(figures: dict[str, dict[str, float]]) -> list[str]:
    """Return the figures as text."""
    return [
        f"{start}: first hit after {of['first hit']:.1f} s, right sum of bytes after"
        f" {of['right sum of bytes']:.1f} s (at most {LIMIT_SECONDS:.0f})"
        for start, of in figures.items()
    ]


if __name__ == "__main__":
    main()
