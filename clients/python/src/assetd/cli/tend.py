"""The commands that look after the cache: `assetd evict`, `pin`, `unpin` and `verify`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from assetd.cli.output import (
    EXIT_DATA_LOSS,
    EXIT_TO_MEND,
    Command,
    Session,
    count_text,
    for_each,
    json_option,
    one_line,
    print_error,
    print_message,
    size_text,
)
from assetd.cli.progress import VerifyReport, display_for, progress_options
from assetd.cli.show import name_and_version
from assetd.cli.table import print_table

if TYPE_CHECKING:
    from assetd.v1.cache_service_pb2 import (
        EvictResponse,
        PinResponse,
        UnpinResponse,
        VerifyResult,
    )

EVICT_EXAMPLES = """\b
Examples:
  assetd evict nlp/ranker:1.2
  assetd evict --prefix nlp/ --dry-run
  assetd evict --all
"""

PIN_EXAMPLES = """\b
Examples:
  assetd pin nlp/ranker:1.2
  assetd pin $(assetd resolve nlp/ranker) nlp/tokens:0.1
"""

UNPIN_EXAMPLES = """\b
Examples:
  assetd unpin nlp/ranker:1.2
"""

VERIFY_EXAMPLES = """\b
Examples:
  assetd verify nlp/ranker:1.2
  assetd verify --prefix nlp/ --repair
  assetd verify --all --json | jq -r 'select(.result.outcome == "OUTCOME_DAMAGED")'
"""


def selection(command: Command) -> Command:
    """Give a command the ways to say which cached versions it is about."""
    spec = click.argument("spec", required=False)
    prefix = click.option(
        "--prefix",
        metavar="PREFIX",
        help="All versions of assets whose names begin so; nlp/ is a folder, nlp/ra also means "
        "nlp/ranker.",
    )
    everything = click.option("--all", "everything", is_flag=True, help="All versions.")
    return spec(prefix(everything(command)))


def selected(spec: str | None, prefix: str | None, everything: bool) -> dict[str, Any]:
    """Return the arguments by which the client is told.

    Raises:
        click.UsageError: not exactly one way was used: nothing never means everything.
    """
    if [spec is not None, prefix is not None, everything].count(True) != 1:
        raise click.UsageError("say which versions: a SPEC, --prefix or --all, and one of them")
    return {"spec": spec, "name_prefix": prefix, "everything": everything}


@click.command(epilog=EVICT_EXAMPLES)
@selection
@click.option("--dry-run", is_flag=True, help="Say what would happen, and do nothing.")
@json_option
@click.pass_obj
def evict(
    session: Session, spec: str | None, prefix: str | None, everything: bool, dry_run: bool
) -> int:
    """Remove versions from this node, never from the store.

    Leased and pinned versions stay, and are listed as such; so do versions that the store could
    not give back, which are not listed. Exit code 8 if the one SPEC stays.
    """
    which = selected(spec, prefix, everything)
    with session.client() as client:
        response = client.evict(**which, dry_run=dry_run)
    if session.as_json:
        print_message(response)
    else:
        show_evicted(response, dry_run=dry_run)
    if spec is None or dry_run or evicted_count(response):
        return 0
    if not response.entries and not session.as_json:
        print_error(f"{spec} stays: the store could not give it back")
    return EXIT_TO_MEND


def show_evicted(response: "EvictResponse", *, dry_run: bool) -> None:
    """Print what became of each version, and the sum."""
    from assetd.v1.cache_service_pb2 import EvictResponse

    name = EvictResponse.Entry.Outcome.Name
    outcomes = [name(entry.outcome).removeprefix("OUTCOME_").lower() for entry in response.entries]
    rows = [
        [e.asset_version.name, e.asset_version.version, outcome, size_text(e.freed_bytes)]
        for e, outcome in zip(response.entries, outcomes, strict=True)
    ]
    print_table(["ASSET", "VERSION", "OUTCOME", "FREED"], rows)
    would = "would be " if dry_run else ""
    versions = count_text(evicted_count(response), "version")
    # The sum counts those as well that the answer has no room to name.
    named_bytes = sum(entry.freed_bytes for entry in response.entries)
    more = " and more" if named_bytes < response.freed_bytes else ""
    print_error(f"{versions}{more} {would}evicted, {size_text(response.freed_bytes)} {would}freed")


def evicted_count(response: "EvictResponse") -> int:
    """Return how many versions went."""
    from assetd.v1.cache_service_pb2 import EvictResponse

    gone = EvictResponse.Entry.OUTCOME_EVICTED
    return sum(1 for entry in response.entries if entry.outcome == gone)


@click.command(epilog=PIN_EXAMPLES)
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@json_option
@click.pass_obj
def pin(session: Session, specs: tuple[str, ...]) -> int:
    """Keep cached versions until they are unpinned, also across restarts.

    Prints the name:version of each. SPEC names its version in full; what is not in the cache has to
    be fetched first. Goes on after a failure; the exit code is the highest.
    """
    with session.client() as client:
        return for_each(specs, show_pinned(session, client.pin), as_json=session.as_json)


@click.command(epilog=UNPIN_EXAMPLES)
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@json_option
@click.pass_obj
def unpin(session: Session, specs: tuple[str, ...]) -> int:
    """Undo `assetd pin`.

    Prints the name:version of each. Removes nothing by itself. Goes on after a failure; the exit
    code is the highest.
    """
    with session.client() as client:
        return for_each(specs, show_pinned(session, client.unpin), as_json=session.as_json)


def show_pinned(
    session: Session, call: "Callable[[str], PinResponse | UnpinResponse]"
) -> Callable[[str], None]:
    """Return what makes the call for a spec and prints its answer."""

    def act(spec: str) -> None:
        response = call(spec)
        if session.as_json:
            print_message(response)
        else:
            click.echo(name_and_version(response.asset_version))

    return act


@click.command(epilog=VERIFY_EXAMPLES)
@selection
@click.option(
    "--repair",
    is_flag=True,
    help="Fetch damaged versions again and replace them, unless somebody uses them.",
)
@progress_options
@json_option
@click.pass_obj
def verify(
    session: Session,
    spec: str | None,
    prefix: str | None,
    everything: bool,
    repair: bool,
    progress: str,
    quiet: bool,
) -> int:
    """Hash cached versions and compare them with their manifests.

    Prints a line for each: sound, repaired, damaged, or unverifiable where no manifest holds
    digests. Exit code 7 if damage remains.
    """
    which = selected(spec, prefix, everything)
    display = display_for(progress, quiet=quiet or session.as_json)
    with session.client() as client, VerifyReport(display) as report:
        results = client.verify(
            **which,
            repair=repair,
            on_progress=report.update,
            on_event=print_message if session.as_json else None,
        )
        for result in results:
            report.has_failed = report.has_failed or is_damaged(result)
            if not session.as_json:
                report.answer(result_line(result))
    return EXIT_DATA_LOSS if report.has_failed else 0


def is_damaged(result: "VerifyResult") -> bool:
    """Tell whether the version is damaged still."""
    from assetd.v1.cache_service_pb2 import VerifyResult

    return result.outcome == VerifyResult.OUTCOME_DAMAGED


def result_line(result: "VerifyResult") -> str:
    """Return what one version proved to be, and which of its files were damaged."""
    from assetd.v1.cache_service_pb2 import VerifyResult

    outcome = VerifyResult.Outcome.Name(result.outcome).removeprefix("OUTCOME_").lower()
    # A file asset has one part, which has no name.
    paths = ", ".join(path for path in result.damaged_paths if path)
    line = f"{outcome}  {name_and_version(result.asset_version)}"
    return one_line(f"{line}  {paths}" if paths else line)
