"""`python -m bench.fastpath`: what a hit without a call takes, on a thousand versions in turn.

Half of them files, half directories, in a new order each round, through `assetd.Client` as a
program uses it. Needs no daemon. With `--json` one JSON object.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from assetd import Client

from bench.figures import percentile

VERSIONS = 1000
ROUNDS = 10
# What it must not exceed, in the middle of all.
LIMITS_MICROSECONDS = {"without hold": 10.0, "with hold": 25.0}


def measure(folder: Path) -> dict[str, list[float]]:
    """Return the seconds of every hit, by kind; `folder` becomes the ASSETS_DIR."""
    specs = [_put_version(folder, number) for number in range(VERSIONS)]
    seconds: dict[str, list[float]] = {kind: [] for kind in LIMITS_MICROSECONDS}
    with Client("unix:///nowhere/assetd.sock", assets_dir=folder) as client:
        for _ in range(ROUNDS):
            for kind, of in seconds.items():
                random.shuffle(specs)
                of += [_hit_seconds(client, spec, hold=kind == "with hold") for spec in specs]
    return seconds


def microseconds(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return the figures for a report."""
    return {
        kind: {f"p{percent}": percentile(of, percent) * 1e6 for percent in (50, 99)}
        for kind, of in seconds.items()
    }


def lines(figures: dict[str, dict[str, float]]) -> list[str]:
    """Return the figures as text."""
    return [
        f"hit without a call, {kind}: p50 {of['p50']:.1f} us (at most"
        f" {LIMITS_MICROSECONDS[kind]:.0f}), p99 {of['p99']:.1f} us"
        for kind, of in figures.items()
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.fastpath", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as name:
        figures = microseconds(measure(Path(name)))
    print(json.dumps(figures) if options.json else "\n".join(lines(figures)))


def _put_version(assets_dir: Path, number: int) -> str:
    name = f"team{number % 10}/model{number}"
    folder = assets_dir / name
    folder.mkdir(parents=True)
    if number % 2:
        (folder / "1.2").write_bytes(b"weights")
        marker = folder / ".1.2.SUCCESS"
    else:
        (folder / "1.2").mkdir()
        marker = folder / "1.2/.SUCCESS"
    # Not empty, as the daemon's.
    marker.write_text('{"format": 1}')
    return f"{name}:1.2"


def _hit_seconds(client: Client, spec: str, *, hold: bool) -> float:
    began = time.perf_counter()
    asset = client.fetch(spec, hold=hold)
    seconds = time.perf_counter() - began
    asset.close()
    return seconds


if __name__ == "__main__":
    main()
