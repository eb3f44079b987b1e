"""`python -m bench.fastpath`: what a hit without a call takes, on a thousand versions in turn.

Half of them files, half directories, in a new order each round, through the client of each language
that has such hits and is installed, as a program uses it. Needs no daemon. With `--json` one JSON
object.
"""

import argparse
import json
import random
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from assetd import Client

from bench.figures import percentile

VERSIONS = 1000
ROUNDS = 10
# What it must not exceed, in the middle of all.
LIMITS_MICROSECONDS = {"without hold": 10.0, "with hold": 25.0}
CLIENTS = Path(__file__).parent.parent / "clients"
_GO_FIGURE = re.compile(r"/(plain|held)\S*.*?([\d.]+) p50-ns\s+([\d.]+) p99-ns")
_GO_KINDS = {"plain": "without hold", "held": "with hold"}

Figures = dict[str, dict[str, float]]


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


def measure_go() -> Figures:
    """Return what the Go client's own benchmark says."""
    output = _output("go", "go", "test", "-run=-", "-bench=WithoutACall", "-benchtime=10000x", ".")
    figures = {
        found[1]: {"p50": float(found[2]) / 1000, "p99": float(found[3]) / 1000}
        for found in _GO_FIGURE.finditer(output)
    }
    return {kind: figures[name] for name, kind in _GO_KINDS.items()}


def measure_rust() -> Figures:
    """Return what the Rust client's example `hits` says."""
    options = ("--quiet", "--release", "--locked", "--example=hits")
    figures: Figures = json.loads(_output("rust", "cargo", "run", *options, "--", "--json"))
    return figures


def microseconds(seconds: dict[str, list[float]]) -> Figures:
    """Return the figures for a report."""
    return {
        kind: {f"p{percent}": percentile(of, percent) * 1e6 for percent in (50, 99)}
        for kind, of in seconds.items()
    }


def lines(figures: Figures, language: str = "Python") -> list[str]:
    """Return the figures as text."""
    return [
        f"hit without a call in {language}, {kind}: p50 {of['p50']:.1f} us (at most"
        f" {LIMITS_MICROSECONDS[kind]:.0f}), p99 {of['p99']:.1f} us"
        for kind, of in figures.items()
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.fastpath", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as name:
        figures = {"Python": microseconds(measure(Path(name)))}
    for language, program, measured in (("Go", "go", measure_go), ("Rust", "cargo", measure_rust)):
        if shutil.which(program) is not None:
            figures[language] = measured()
    if options.json:
        print(json.dumps(figures))
        return
    for language, of in figures.items():
        print("\n".join(lines(of, language)))


def _output(folder: str, *command: str) -> str:
    found = subprocess.run(
        command, cwd=CLIENTS / folder, check=True, capture_output=True, text=True
    )
    return found.stdout


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
