"""`python -m bench`: pushes and cold fetches beside s5cmd on one server; warm fetches; memory.

Prints a table; with `--json` one JSON object. Seconds depend on the machine: compare the ratios.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import fastpath
from bench.fetching import BUCKET, Bench, Workload
from bench.figures import Comparison, percentile
from bench.pushing import PushBench, PushWorkload, push_inline, push_staged
from tests.support.versitygw import versitygw

KIB, MIB = 2**10, 2**20
WARM_CALLS = 2000

LARGE = Workload("1 x 2 GiB", "large:0.0", "large/0.0", is_one_file=True)
SMALL = Workload("2,000 x 100 KiB", "small:0.0", "small/0.0/*")


def main() -> None:
    """Measure, print, and leave nothing behind."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison (default: 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument(
        "--folder", type=Path, help="where to write, some 15 GiB (default: a new one here)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=options.folder or Path.cwd()) as name:
        folder = Path(name)
        with versitygw(folder / "s3") as server:
            server.make_bucket(BUCKET)
            bench = Bench(server, folder)
            _make_sources(folder / "source")
            pushes = _compare_pushes(bench, options.rounds)
            push_peak_rss_bytes = bench.peak_rss_bytes
            _push(bench)
            comparisons = _compare(bench, options.rounds)
            with bench.daemon() as daemon, daemon.client() as client:
                warm = {
                    workload.name: bench.warm_seconds(client, workload.spec, WARM_CALLS)
                    for workload in (LARGE, SMALL)
                }
        hits = fastpath.microseconds(fastpath.measure(folder / "hits"))
    peaks = {"push": push_peak_rss_bytes, "fetch": bench.peak_rss_bytes}
    _report(pushes, comparisons, warm, hits, peaks, as_json=options.json)


def _make_sources(source: Path) -> None:
    large, small = source / "large", source / "small"
    small.mkdir(parents=True)
    with large.open("wb") as file:
        for _ in range(2048):
            file.write(os.urandom(MIB))
    for number in range(2000):
        part = small / f"{number % 20:02}" / f"{number:04}.bin"
        part.parent.mkdir(exist_ok=True)
        part.write_bytes(os.urandom(100 * KIB))


def _compare_pushes(bench: Bench, rounds: int) -> list[Comparison]:
    source, pushing = bench.folder / "source", PushBench(bench)
    lines = [
        (Comparison(f"{workload.name}, {how}"), PushWorkload(workload.name, path), push)
        for workload, path in ((LARGE, source / "large"), (SMALL, source / "small"))
        for how, push in (("inline", push_inline), ("staged", push_staged))
    ]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("pushes", total=rounds * len(lines))
        for _ in range(rounds):
            for comparison, workload, push in lines:
                pushing.compare(comparison, workload, push)
                progress.advance(task)
    return [comparison for comparison, _, _ in lines]


def _push(bench: Bench) -> None:
    large, small = bench.folder / "source/large", bench.folder / "source/small"
    with bench.daemon() as daemon, daemon.client() as client:
        client.push(large, "large")
        client.push(small, "small")
    large.unlink()
    bench.peak_rss_bytes = 0


def _compare(bench: Bench, rounds: int) -> list[Comparison]:
    lines = [
        (Comparison(f"{workload.name}, {'durable' if durable else 'no fsync'}"), workload, durable)
        for durable in (True, False)
        for workload in (LARGE, SMALL)
    ]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("rounds", total=rounds * len(lines))
        for _ in range(rounds):
            for comparison, workload, durable in lines:
                bench.compare(comparison, workload, durable=durable)
                progress.advance(task)
    return [comparison for comparison, _, _ in lines]


def _report(
    pushes: list[Comparison],
    comparisons: list[Comparison],
    warm: dict[str, list[float]],
    hits: dict[str, dict[str, float]],
    peak_rss_bytes: dict[str, int],
    *,
    as_json: bool,
) -> None:
    milliseconds = {
        name: {f"p{percent}": percentile(seconds, percent) * 1000 for percent in (50, 99)}
        for name, seconds in warm.items()
    }
    if as_json:
        figures: dict[str, object] = {
            "push": [comparison.as_json() for comparison in pushes],
            "cold": [comparison.as_json() for comparison in comparisons],
            "warm_milliseconds": milliseconds,
            "hit_microseconds": hits,
            "daemon_peak_rss_mib": {what: peak / MIB for what, peak in peak_rss_bytes.items()},
        }
        print(json.dumps(figures))
        return
    console = Console()
    for what, lines in (("push", pushes), ("cold fetch", comparisons)):
        table = Table(what, "assetd, s", "s5cmd, s", "ratio", title="median (min..max)")
        for comparison in lines:
            table.add_row(*comparison.as_row())
        console.print(table)
    for name, of in milliseconds.items():
        console.print(
            f"warm fetch of {name} by the Python client: p50 {of['p50']:.2f} ms,"
            f" p99 {of['p99']:.2f} ms"
        )
    for line in fastpath.lines(hits):
        console.print(line)
    for what, peak in peak_rss_bytes.items():
        console.print(f"peak memory of a daemon that serves a {what}: {peak / MIB:.0f} MiB")


if __name__ == "__main__":
    main()
