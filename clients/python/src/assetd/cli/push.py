"""`assetd push`. Options in, one line out: what a push is, only the client knows."""

import functools
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assetd.cli.output import Session, json_option, print_error, print_message, size_text
from assetd.cli.progress import PushReport, display_for, progress_options
from assetd.cli.show import label_texts, name_and_version
from assetd.cli.table import print_table
from assetd.cli.transfer import SECONDS
from assetd.errors import AssetdError

if TYPE_CHECKING:
    from assetd.asset import PushedVersion
    from assetd.client import Client
    from assetd.v1.asset_service_pb2 import PushCompleted, PushResponse

# How a call ends of which nobody knows what became.
OPEN_ENDS = {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
URI_BEGINNINGS = ("s3://", "file://")

EXAMPLES = """\b
Examples:
  assetd push ./model nlp/ranker
  assetd push ./model nlp/ranker --new --label git=$(git rev-parse HEAD) --label by=ci
  assetd push ./model nlp/ranker --dry-run --exclude '**/.git/**' --exclude '*.log'
  assetd push weights.bin nlp/weights:1
  assetd push ./model nlp/ranker --update --bump-major
  assetd push run-7/model nlp/ranker --staged
  assetd push s3://training/run-7/model nlp/ranker
"""


def _labels(
    _context: click.Context, _option: click.Parameter, pairs: tuple[str, ...]
) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{pair!r} is no label: write key=value")
        if key in labels:
            raise click.BadParameter(f"{key!r} is given twice")
        labels[key] = value
    return labels


@click.command(epilog=EXAMPLES)
@click.argument("path")
@click.argument("spec")
@click.option("--new", is_flag=True, help="Fail if the asset exists.")
@click.option("--update", is_flag=True, help="Fail if the asset does not exist.")
@click.option(
    "--bump-major", is_flag=True, help="Raise the major number: after 1.2 comes 2.0, not 1.3."
)
@click.option(
    "--label",
    "labels",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_labels,
    help="Written on the version for ever. May be repeated.",
)
@click.option(
    "--exclude",
    metavar="GLOB",
    multiple=True,
    help="Leave out files whose paths in the folder match: * stops at /, ** does not; a whole "
    "folder is left out by FOLDER/**. May be repeated.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check all that can be checked and say what would be created; create nothing.",
)
@click.option(
    "--staged",
    is_flag=True,
    help="PATH is below ASSETS_DIR/.assetd/push on the daemon's node: relative to that folder, or "
    "absolute.",
)
@click.option(
    "--push-id",
    type=click.UUID,
    metavar="UUID",
    help="The name of this push, a UUID4: a repeat with the same one, after whatever failure, "
    "continues it or prints its first answer.",
)
@click.option("--timeout", type=SECONDS, metavar="SECONDS", help="Give up after that long.")
@progress_options
@json_option
@click.pass_obj
def push(
    session: Session,
    path: str,
    spec: str,
    new: bool,
    update: bool,
    bump_major: bool,
    labels: Mapping[str, str],
    exclude: tuple[str, ...],
    dry_run: bool,
    staged: bool,
    push_id: object,
    timeout: float | None,
    progress: str,
    quiet: bool,
) -> None:
    """Create a version from a file or folder.

    Prints its name:version. SPEC is name for the next version, name:1 for the next 1.x, name:1.2
    for exactly that. The version is there as a whole or not at all, and it never changes. Only
    plain files and folders can be pushed: symlinks, hard links, devices, FIFOs, sockets and empty
    folders are refused.

    PATH may also be a URI, s3:// or file://, that the daemon's operator allows: the daemon then
    reads it by itself.
    """
    if new and update:
        raise click.UsageError("--new and --update exclude each other")
    if not path:
        raise click.UsageError("PATH is empty")
    display = display_for(progress, quiet=quiet or session.as_json)
    answers = _Answers(as_json=session.as_json)
    name = str(push_id or uuid.uuid4())
    try:
        with session.client() as client, PushReport(display) as report:
            version = _way(client, path, staged=staged, exclude=exclude)(
                spec,
                new=new,
                update=update,
                bump_major=bump_major,
                labels=labels,
                validate_only=dry_run,
                push_id=name,
                on_progress=report.update,
                on_event=answers.take,
                timeout=timeout,
            )
    except AssetdError as failure:
        if answers.leave_open(failure) and not dry_run:
            print_error(f"the same push with --push-id {name} goes on, or tells that it is done")
        raise
    if session.as_json:
        return
    if dry_run and answers.completed is not None:
        print_table([], [list(line) for line in summary(answers.completed)])
    else:
        click.echo(f"{spec.partition(':')[0]}:{version}")


def _way(
    client: "Client", path: str, *, staged: bool, exclude: tuple[str, ...]
) -> Callable[..., "PushedVersion"]:
    """Return the client's method for where PATH points, with that already said.

    Raises:
        click.UsageError: nothing is there, or the options do not go with it.
    """
    is_uri = path.startswith(URI_BEGINNINGS)
    if exclude and (staged or is_uri):
        raise click.UsageError("--exclude is for a folder that is read here")
    if staged and is_uri:
        raise click.UsageError("--staged is for a path, and PATH is a URI")
    if is_uri:
        return functools.partial(client.push_from, path)
    if staged:
        return functools.partial(client.push_staged, path)
    # Said as click says it of other arguments.
    click.Path(exists=True).convert(path, None, click.get_current_context())
    return functools.partial(client.push, Path(path), exclude=exclude)


class _Answers:
    """What the daemon says: printed as JSON, or kept until the bars are gone."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._is_accepted = False
        self.completed: PushCompleted | None = None

    def take(self, response: "PushResponse") -> None:
        """Take one event."""
        if self._as_json:
            print_message(response)
        self._is_accepted |= response.HasField("accepted")
        if response.HasField("completed"):
            self.completed = response.completed

    def leave_open(self, failure: AssetdError) -> bool:
        """Tell whether somebody should be told that nobody knows how far the push came."""
        return self._is_accepted and failure.code in OPEN_ENDS and not self._as_json


def summary(completed: "PushCompleted") -> Iterator[tuple[str, str]]:
    """Give the lines about what would be created. `?` stands for what is not known."""
    from assetd.v1.asset_pb2 import AssetKind

    version = completed.asset_version
    kind = AssetKind.Name(version.kind).removeprefix("ASSET_KIND_").lower()
    yield "version", name_and_version(version)
    yield "kind", kind if version.kind else "?"
    yield "files", str(version.file_count) if version.HasField("file_count") else "?"
    yield "size", size_text(version.size_bytes) if version.HasField("size_bytes") else "?"
    yield "digest", version.digest or "?"
    for position, text in enumerate(label_texts(version)):
        yield "" if position else "labels", text
    yield "exists already", "yes, with this content" if completed.already_existed else "no"
