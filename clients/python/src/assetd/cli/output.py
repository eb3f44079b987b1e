"""What the commands have in common: a client, lines of JSON, errors and their exit codes.

Knows no command.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import click

from assetd.cli.interrupts import Interrupts
from assetd.client import Client
from assetd.errors import AssetdError

if TYPE_CHECKING:
    from google.protobuf.message import Message

EXIT_OTHER = 1
EXIT_USAGE = 2
EXIT_DATA_LOSS = 7
EXIT_TO_MEND = 8
# By code, so that a reason of a newer daemon has its exit code too.
EXIT_CODES = {
    "INVALID_ARGUMENT": EXIT_USAGE,
    "NOT_FOUND": 3,
    "ALREADY_EXISTS": 4,
    "ABORTED": 4,
    "UNAVAILABLE": 5,
    "RESOURCE_EXHAUSTED": 6,
    "DATA_LOSS": EXIT_DATA_LOSS,
    "FAILED_PRECONDITION": EXIT_TO_MEND,
}

Command = TypeVar("Command", bound=Callable[..., object])


@dataclass
class Session:
    """One run of the command line."""

    interrupts: Interrupts = field(default_factory=Interrupts)
    address: str | None = None
    as_json: bool = False

    def client(self) -> Client:
        """Return a client for the daemon that was named.

        Raises:
            click.UsageError: the address is none.
        """
        try:
            return Client(self.address)
        except ValueError as mistake:
            raise click.UsageError(str(mistake)) from None


def json_option(command: Command) -> Command:
    """Give a command the option `--json`."""

    def note(context: click.Context, _: click.Parameter, value: bool) -> None:
        context.ensure_object(Session).as_json = value

    option = click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=note,
        help="Print what the daemon answers as canonical proto JSON, one object a line; an error "
        "too, on standard error.",
    )
    return option(command)


def print_message(message: "Message") -> None:
    """Print a message of the contract as one line of canonical JSON."""
    from google.protobuf.json_format import MessageToJson

    click.echo(MessageToJson(message, indent=None))


def print_error(text: str) -> None:
    """Print one line for people on standard error."""
    click.echo(f"assetd: {one_line(text)}", err=True)


def print_failure(failure: AssetdError, *, as_json: bool) -> None:
    """Print why a call failed: one line, with the reason by which it can be looked up."""
    if as_json:
        fields = {
            "code": failure.code,
            "reason": failure.reason,
            "message": failure.message,
            "metadata": failure.metadata,
        }
        click.echo(json.dumps({"error": fields}), err=True)
    else:
        print_error(f"{failure.message} ({failure.reason or failure.code})")


def for_each(specs: Iterable[str], act: Callable[[str], None], *, as_json: bool) -> int:
    """Do something for every spec, and go on after a failure; return the highest exit code."""
    worst = 0
    for spec in specs:
        try:
            act(spec)
        except AssetdError as failure:
            print_failure(failure, as_json=as_json)
            worst = max(worst, exit_code(failure))
    return worst


def warn_of_fallback(is_fallback: bool) -> None:
    """Say that the store did not answer, for whoever allowed that and may want to know."""
    if is_fallback:
        print_error("the store did not answer: this is the newest version in the cache")


def size_text(size_bytes: int) -> str:
    """Return a size as people read it: decimal, as disks and networks are sold."""
    from rich.filesize import decimal

    return decimal(size_bytes)


def count_text(count: int, noun: str) -> str:
    """Return `1 version`, `2 versions`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def one_line(text: str) -> str:
    """Return the text with all that could leave the line, or steer a terminal, made visible."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def exit_code(failure: AssetdError) -> int:
    """Return the exit code for a failure; never 0."""
    return EXIT_CODES.get(failure.code, EXIT_OTHER)
