"""The command `assetd run`: fetch, hold, and become another program that uses the paths."""

import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click

from assetd._lease import Lease
from assetd.asset import Asset, Resolution
from assetd.cli.output import Session, warn_of_fallback
from assetd.cli.progress import FetchReport, display_for, progress_options
from assetd.client import Client

RUN_EXAMPLES = """\b
Examples:
  assetd run nlp/ranker:1 -- python serve.py --model {path}
  assetd run llm/base:2.1 llm/adapter -- vllm serve {0} --lora-modules a={1}
  assetd run nlp/ranker:1 -- sh -c 'ls "{path}"'
"""

VERBOSITY = "GRPC_VERBOSITY"
PLACEHOLDER = re.compile(r"\{(path|\d{1,3})\}")


class WithCommand(click.Command):
    """A command whose arguments end at `--`, where those of another program begin."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what follows the first `--` for `ctx.meta`."""
        if "--" in args:
            at = args.index("--")
            ctx.meta["assetd.command"] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)


@click.command(cls=WithCommand, epilog=RUN_EXAMPLES, options_metavar="[OPTIONS]")
@click.argument("specs", metavar="SPEC... -- COMMAND [ARGUMENT]...", nargs=-1, required=True)
@progress_options
@click.pass_context
def run(context: click.Context, specs: tuple[str, ...], progress: str, quiet: bool) -> NoReturn:
    """Fetch versions, and run a program that reads them.

    In the program's name and arguments, {path} and {0} stand for the path of the first SPEC, {1}
    for that of the second, and so on; other braces are left as they are. The program takes this
    process's place. As long as it runs, or a child that inherited its files, none of the versions
    is evicted or replaced; no daemon is needed for that.

    ASSETS_DIR has to be visible here, where the daemon sees it or where the variable ASSETS_DIR
    says.
    """
    command: list[str] = context.meta.get("assetd.command", [])
    if not command:
        raise click.UsageError("a command is missing: assetd run SPEC... -- COMMAND [ARGUMENT]...")
    require_program(command[0])
    session = context.ensure_object(Session)
    display = display_for(progress, quiet=quiet)
    with quiet_grpc(), session.client() as client:
        with FetchReport(display) as report:
            assets = [fetch(client, spec, report) for spec in specs]
        # Still held, so that nothing can go between that and the leases.
        leases = [lease(client, asset) for asset in assets]
    if session.interrupts.came:
        # Python dropped it on the way.
        raise KeyboardInterrupt
    become([fill_in(word, assets) for word in command], leases)


@contextmanager
def quiet_grpc() -> Iterator[None]:
    """Have gRPC say nothing of its own for the block, unless the user wants to hear it.

    The kernel refuses new threads to a process that is about to become another program, and a
    thread of gRPC's that begins one just then would tell it on the program's standard error.
    """
    if VERBOSITY in os.environ:
        yield
        return
    os.environ[VERBOSITY] = "NONE"
    try:
        yield
    finally:
        # Read once, when gRPC begins; the program does not inherit it.
        del os.environ[VERBOSITY]


def require_program(name: str) -> None:
    """Refuse a program that is not there, before gigabytes are fetched for it.

    Raises:
        click.UsageError: it is not there, and its name holds no path that is still to come.
    """
    if not PLACEHOLDER.search(name) and shutil.which(name) is None:
        raise click.UsageError(f"there is no program {name!r}")


def fetch(client: Client, spec: str, report: FetchReport) -> Asset:
    """Return the asset, held."""
    asset = client.fetch(
        spec,
        hold=True,
        progress_interval=report.interval_seconds,
        on_progress=report.updates(spec),
    )
    warn_of_fallback(asset.resolution is Resolution.FALLBACK)
    return asset


def lease(client: Client, asset: Asset) -> Lease:
    """Return a lease on the version that outlives this program.

    Raises:
        click.ClickException: the version cannot be seen or leased from here.
    """
    version = version_path(asset)
    taken = Lease.of(str(version))
    if taken is not None and taken.begin(str(version)):
        return taken
    if not os.access(version, os.F_OK):
        where = f"where ASSETS_DIR says {client.assets_dir}" if client.assets_dir else "here"
        raise click.ClickException(
            f"{version} is not visible {where}: mount the daemon's ASSETS_DIR, and set ASSETS_DIR "
            "to where it is mounted"
        )
    raise click.ClickException(
        f"{version} cannot be leased from here: this user has to be able to read it, and its file "
        "system to honour flock (see `assetd doctor`)"
    )


def version_path(asset: Asset) -> Path:
    """Return where the version stands, of which the asset's path may be a part."""
    own = f"{asset.name}/{asset.version}" if asset.version else asset.name
    depth = asset.relative_path.count("/") - own.count("/")
    return asset.path.parents[depth - 1] if depth > 0 else asset.path


def fill_in(word: str, assets: list[Asset]) -> str:
    """Return a word of the command with its paths."""

    def path(placeholder: re.Match[str]) -> str:
        number = 0 if placeholder[1] == "path" else int(placeholder[1])
        return str(assets[number]) if number < len(assets) else placeholder[0]

    return PLACEHOLDER.sub(path, word)


def become(command: list[str], leases: list[Lease]) -> NoReturn:
    """Put the program in this one's place, with the leases.

    Raises:
        OSError: it cannot be started.
    """
    for each in leases:
        each.hand_on()
    sys.stdout.flush()
    sys.stderr.flush()
    # Python ignores these two, which the program would inherit: it could not be ended by a pipe.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the program that the user names
    except OSError as failure:
        failure.filename = failure.filename or command[0]
        raise
