"""The command line `assetd`.

Standard output carries the answer and nothing else, so that a script can take it as it is;
progress, warnings and errors go to standard error. The exit code tells what kind of failure it
was. Knows the client alone, and the server only for `assetd serve`.
"""

from collections.abc import Sequence

import click

from assetd.cli.doctor import doctor
from assetd.cli.interrupts import EXIT_INTERRUPTED, Interrupts
from assetd.cli.output import (
    EXIT_OTHER,
    EXIT_USAGE,
    Session,
    exit_code,
    print_error,
    print_failure,
)
from assetd.cli.prefetch import prefetch
from assetd.cli.push import push
from assetd.cli.run import run
from assetd.cli.serve import serve
from assetd.cli.show import list_versions, resolve, status
from assetd.cli.streams import usable_streams
from assetd.cli.tend import evict, pin, unpin, verify
from assetd.cli.transfer import fetch
from assetd.errors import AssetdError

HELP = """Fetch and push model assets by name and version.

An asset is named by a SPEC, name[:version][[sub/part]]:

\b
  nlp/ranker              the newest version
  nlp/ranker:1            the newest 1.x; 1.10 is newer than 1.9
  nlp/ranker:1.2          exactly that version
  nlp/tokens:0.1[vocab]   a file or folder inside a version

\b
Examples:
  assetd serve --store file:///srv/models --assets-dir /var/cache/models
  assetd push ./model nlp/ranker
  MODEL=$(assetd fetch nlp/ranker:1)
  assetd run nlp/ranker:1 -- python serve.py {path}

\b
Exit codes:
  0  done                          5    the daemon or the store is unavailable
  1  any other failure             6    the cache or the disk is full
  2  usage, invalid argument       7    data loss: bytes are not what they should be
  3  not found                     8    something must be set right first
  4  conflict: exists, aborted     130  interrupted
"""


@click.group(help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="assetd", message="assetd %(version)s")
@click.option(
    "--address",
    metavar="ADDRESS",
    help="Where the daemon listens: unix:///path or a loopback host:port. By default "
    "ASSETD_ADDRESS, else unix:///run/assetd/assetd.sock for root and the same below "
    "XDG_RUNTIME_DIR for everybody else.",
)
@click.pass_obj
def assetd(session: Session, address: str | None) -> None:
    """Take what all commands share."""
    session.address = address


for command in (
    *(serve, fetch, push, resolve, list_versions, status),
    *(run, prefetch, pin, unpin, evict, verify, doctor),
):
    assetd.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, by default that of the process, and return its exit code."""
    try:
        with usable_streams(), Interrupts() as interrupts:
            return run_command(arguments, interrupts)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def run_command(arguments: Sequence[str] | None, interrupts: Interrupts) -> int:
    """Run one command and return its exit code."""
    session = Session(interrupts)
    try:
        result = assetd.main(arguments, prog_name="assetd", standalone_mode=False, obj=session)
        return int(result or 0)
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except Exception as failure:
        # In the middle of an import or of a lock, an interrupt becomes a failure of another kind:
        # a name that is not defined, or "cannot release un-acquired lock".
        if interrupts.came:
            return EXIT_INTERRUPTED
        code = tell(failure, session)
        if code is None:
            raise
        return code


def tell(failure: Exception, session: Session) -> int | None:
    """Print a failure on standard error, and return its exit code; None if it is a defect."""
    if isinstance(failure, click.ClickException):
        failure.show()
        return failure.exit_code
    if isinstance(failure, AssetdError):
        print_failure(failure, as_json=session.as_json)
        return exit_code(failure)
    if isinstance(failure, UnicodeEncodeError) and failure.reason == "surrogates not allowed":
        # Of an argument, where Python keeps bytes that are no text; gRPC takes only text.
        print_error(f"{failure.object} is not UTF-8")
        return EXIT_USAGE
    if isinstance(failure, OSError):
        # A broken pipe is none of these: click ends quietly when whoever reads has seen enough.
        where = f"{failure.filename}: " if failure.filename else ""
        print_error(f"{where}{failure.strerror or failure}")
        return EXIT_OTHER
    return None
