"""The differences between modelkit 0.1.3 and assetd that are meant: one row each, and no other.

Each row quotes what it comes from: the line of the layout that the two share, or, where a row says
`api`, of assetd's own contract. Its key is its row in docs/modelkit.md, for those who move.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tests.differential.histories import ALONE, FOLDER, PUSHES, Action, Party
from tests.differential.living import Comparison
from tests.differential.parties import ABSENT, CRASHED, EXISTS, INVALID, OK, REFUSED

_FETCHES: Final = {Action.FETCH, Action.FORCE}
_ASKS: Final = {*_FETCHES, *ALONE, Action.RESOLVE}
_SEGMENT: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
_PART_OF_MODELKIT: Final = re.compile(r"/?[a-zA-Z0-9]([a-zA-Z0-9_./-]*[a-zA-Z0-9])?")
_CANONICAL: Final = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))?")


@dataclass(frozen=True)
class Row:
    """One difference: its key, where it comes from, and what it looks like."""

    key: str
    quote: str
    is_it: Callable[[Comparison], bool]
    source: str = "layout"


def _kinds(seen: Comparison) -> tuple[str, str]:
    return seen.theirs.outcome.kind, seen.ours.outcome.kind


def _refuses_name(seen: Comparison) -> bool:
    theirs, ours = _kinds(seen)
    return theirs in {OK, CRASHED, ABSENT} and ours == INVALID


def _picks_integers(seen: Comparison) -> bool:
    line = seen.step.version
    known = {*seen.listed_before, *seen.cached_before}
    misread = [v for v in known if v.startswith(line) and v.partition(".")[0] != line]
    ours = seen.ours.outcome
    is_right = ours.kind == ABSENT or ours.version.partition(".")[0] == line
    acts = seen.step.action in {*_ASKS, Action.UPDATE}
    return acts and line.isdigit() and bool(misread) and is_right


def _overwrites(seen: Comparison) -> bool:
    was_there = seen.step.version in seen.listed_before
    # An S3 server over a file system cannot do to a folder what S3 does: put a file there.
    stuck = "ExistingObjectIsDirectory" in seen.theirs.outcome.told
    theirs, ours = _kinds(seen)
    overwritten = theirs == OK or stuck
    return seen.step.action is Action.EXACT and was_there and overwritten and ours == EXISTS


def _exists_equal(seen: Comparison) -> bool:
    is_old = seen.step.version in seen.listed_before and seen.ours.listed == seen.listed_before
    return seen.step.action is Action.EXACT and is_old and _kinds(seen) == (EXISTS, OK)


def _pushes_foo_(seen: Comparison) -> bool:
    is_push = seen.step.action is Action.NEW_EXACT
    return is_push and seen.step.name.endswith("_") and _kinds(seen) == (OK, INVALID)


def _pushes_odd_name(seen: Comparison) -> bool:
    segments = seen.step.name.split("/")
    odd = any(not _SEGMENT.fullmatch(s) or ".." in s or len(s) > 255 for s in segments)
    is_it = seen.step.action is Action.NEW_EXACT and not segments[-1].endswith("_")
    return is_it and odd and _refuses_name(seen)


def _pushes_reserved_name(seen: Comparison) -> bool:
    segments = seen.step.name.split("/")
    reserved = any(re.fullmatch(r"\d+(\.\d+)?|.*\.(versions|meta)", s) for s in segments)
    # What only modelkit has pushed, only modelkit finds.
    ours = INVALID if seen.step.action is Action.NEW_EXACT else ABSENT
    return reserved and _kinds(seen) == (OK, ours)


def _asks_odd_name(seen: Comparison) -> bool:
    name = seen.step.name
    odd = name.startswith("/") or any(c in name for c in ("..", "//", "\\", "\n"))
    long = any(len(segment) > 255 for segment in name.split("/"))
    return seen.step.action in _ASKS and (odd or long) and _refuses_name(seen)


def _asks_path(seen: Comparison) -> bool:
    is_path = seen.step.name.startswith(FOLDER) or seen.step.name == "here"
    there = seen.theirs.outcome
    found_outside = there.kind == OK and there.path.startswith("/")
    ours = seen.ours.outcome.kind in {INVALID, ABSENT}
    return seen.step.action in ALONE and is_path and found_outside and ours


def _asks_part_of_ours(seen: Comparison) -> bool:
    part = seen.step.part
    odd = part is not None and not _PART_OF_MODELKIT.fullmatch(part)
    theirs, ours = _kinds(seen)
    return seen.step.action in _ASKS and odd and theirs == INVALID and ours in {OK, ABSENT}


def _asks_climbing_part(seen: Comparison) -> bool:
    part = seen.step.part or ""
    climbs = ".." in part.split("/") or "//" in part
    return seen.step.action in _ASKS and climbs and seen.ours.outcome.kind == INVALID


def _brings_no_bytes_for_absent_part(seen: Comparison) -> bool:
    more = {*seen.theirs.cached} > {*seen.ours.cached}
    absent = _kinds(seen) == (ABSENT, ABSENT)
    return seen.step.action in _FETCHES and bool(seen.step.part) and absent and more


def _union(seen: Comparison) -> bool:
    local = {*seen.cached_before} - {*seen.listed_before}
    exact = "." in seen.step.version or "T" in seen.step.version
    theirs, ours = seen.theirs.outcome, seen.ours.outcome
    from_cache = theirs.version in local if theirs.kind == OK else theirs.kind == ABSENT
    from_store = ours.version in seen.listed_before if ours.kind == OK else ours.kind == ABSENT
    return seen.step.action in _FETCHES and not exact and bool(local) and from_cache and from_store


def _believes_no_empty_marker(seen: Comparison) -> bool:
    """A version that somebody put there: served by modelkit whatever it is, or deleted."""
    version = seen.ours.outcome.version or seen.theirs.outcome.version or seen.step.version
    if seen.step.action is not Action.FETCH or version not in seen.cached_before:
        return False
    marked, tree = seen.cached_before[version]
    if seen.theirs.outcome.kind in {OK, ABSENT} and marked:
        served = seen.theirs.cached.get(version) == (True, tree)
        ours = seen.ours.cached[version][1]
        replaced = seen.ours.outcome.kind == ABSENT or ours != tree
        return served and replaced
    # It cannot be had again, and modelkit has deleted it before it looked.
    absent = _kinds(seen) == (ABSENT, ABSENT) and version not in seen.listed_before
    return absent and version not in seen.theirs.cached and version in seen.ours.cached


def _keeps_what_cannot_be_had(seen: Comparison) -> bool:
    version = seen.step.version
    lost = version in seen.cached_before and version not in seen.theirs.cached
    absent = _kinds(seen) == (ABSENT, ABSENT)
    return seen.step.action is Action.FORCE and lost and version in seen.ours.cached and absent


def _oddity(seen: Comparison) -> str:
    content = seen.step.content
    return content.oddity if content is not None and seen.step.action in PUSHES else ""


def _pushes_dotfiles(seen: Comparison) -> bool:
    ours, theirs = seen.ours.stored or {}, seen.theirs.stored
    left = {path: data for path, data in ours.items() if not path.startswith(".")}
    dots = _oddity(seen) in {"a dotfile", "a folder that begins with a dot"}
    return dots and _kinds(seen) == (OK, OK) and left == theirs and left != ours


def _refuses_links(seen: Comparison) -> bool:
    odd = {"a link", "a hard link", "a FIFO", "a link in its place"}
    return _oddity(seen) in odd and _kinds(seen) == (OK, REFUSED)


def _refuses_empty_folders(seen: Comparison) -> bool:
    odd = {"an empty folder", "nothing in it", "a control character"}
    return _oddity(seen) in odd and _kinds(seen) == (OK, INVALID)


def _refuses_odd_parts(seen: Comparison) -> bool:
    odd = {"a part called .SUCCESS", "a backslash", "a name that is not UTF-8"}
    return _oddity(seen) in odd and _kinds(seen) == (OK, INVALID)


def _downloads_nothing_alone(seen: Comparison) -> bool:
    is_it = seen.step.action is Action.FORCE_ALONE and seen.ours.outcome.kind == REFUSED
    return is_it and (seen.theirs.outcome.kind in {OK, ABSENT} or _crashes_without_line(seen))


def _crashes_without_line(seen: Comparison) -> bool:
    return seen.step.version.isdigit() and seen.theirs.outcome.told.startswith("IndexError")


def _has_no_such_line(seen: Comparison) -> bool:
    return _crashes_without_line(seen) and seen.ours.outcome.kind == ABSENT


def _begins_line(seen: Comparison) -> bool:
    began = seen.ours.outcome.version == f"{seen.step.version}.0"
    return seen.step.action is Action.UPDATE and began and _kinds(seen) == (ABSENT, OK)


def _means_exact(seen: Comparison) -> bool:
    exact = seen.step.action is Action.UPDATE and "." in seen.step.version
    return exact and seen.ours.outcome.version == seen.step.version


def _means_line(seen: Comparison) -> bool:
    line = seen.step.action is Action.EXACT and seen.step.version.isdigit()
    return line and seen.ours.outcome.version == f"{seen.step.version}.0"


def _has_one_spelling(seen: Comparison) -> bool:
    version = seen.step.version
    zeros = re.fullmatch(r"\d+(\.\d+)?", version) and not _CANONICAL.fullmatch(version)
    return bool(zeros) and seen.ours.outcome.kind == INVALID


def _knows_both_systems(seen: Comparison) -> bool:
    is_version = re.fullmatch(rf"{_CANONICAL.pattern}|[0-9-]+T[0-9-]+Z", seen.step.version)
    theirs, ours = _kinds(seen)
    return bool(is_version) and theirs == INVALID and ours in {ABSENT, REFUSED}


def _counts_seconds(seen: Comparison) -> bool:
    ours = seen.ours.outcome
    newest = ours.version == max(seen.ours.listed, default="")
    dates = seen.step.action is Action.UPDATE and "T" in ours.version
    return dates and newest and ours.version not in seen.listed_before


ROWS: Final = (
    Row(
        "D1",
        "`name:1` picks 10.0 or 12.0 by a regex → integers.",
        _picks_integers,
    ),
    Row(
        "D2",
        "Directory versions can be overwritten → `.meta` is create-only.",
        _overwrites,
    ),
    Row(
        "D3",
        "the other gets ALREADY_EXISTS if `.meta` names another digest and `created: false` (with"
        " the index repaired) if it is equal",
        _exists_equal,
    ),
    Row("D4", "`foo_` can be pushed but not fetched → refused.", _pushes_foo_),
    Row(
        "D5",
        "Push: segment `[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?` without `..`, at most 255 bytes",
        _pushes_odd_name,
    ),
    Row(
        "D6",
        "no segment that parses as a version or ends in `.versions .meta .lock .SUCCESS`",
        _pushes_reserved_name,
    ),
    Row(
        "D7",
        "Fetch: modelkit's own grammar, less `..`, `//`, `\\`, a leading `/`, NUL and control"
        " characters.",
        _asks_odd_name,
    ),
    Row(
        "D8",
        "absolute paths and paths below the working directory are refused (a difference, listed)",
        _asks_path,
    ),
    Row(
        "D9",
        "segments are UTF-8, 1 to 255 bytes, a leading dot is fine (`.gitattributes`)",
        _asks_part_of_ours,
    ),
    Row(
        "D10",
        "Parts from a `.meta` are as untrusted as a caller's words: no `..`, absolute, NUL, `\\`,"
        " `.SUCCESS`, duplicates",
        _asks_climbing_part,
    ),
    Row(
        "D11",
        "`[sub]` may name a directory; on a file asset it is PartNotFound.",
        _brings_no_bytes_for_absent_part,
    ),
    Row(
        "D12",
        "the newest there wins, local or not (modelkit's code unions the two; its documentation and"
        " we do not)",
        _union,
    ),
    Row(
        "D13",
        "An empty marker (modelkit's), a marker without data (users forget it) or a mismatch is no"
        " hit, but a fetch: what is whole by the store's sizes is adopted, the rest replaced",
        _believes_no_empty_marker,
    ),
    Row(
        "D14",
        "**Replace** (force_download, repair) is a fetch that does not adopt: staged and verified"
        " first",
        _keeps_what_cannot_be_had,
    ),
    Row(
        "D15",
        "Dotfiles in a pushed folder are left out silently → pushed.",
        _pushes_dotfiles,
    ),
    Row(
        "D16",
        "Push from a directory refuses symlinks, devices, FIFOs and hard links with a clear error",
        _refuses_links,
    ),
    Row("D17", "empty folders and control characters are refused", _refuses_empty_folders),
    Row(
        "D18",
        "no `..`, absolute, NUL, `\\`, `.SUCCESS`, duplicates, or `a` beside `a/b`; segments are"
        " UTF-8",
        _refuses_odd_parts,
    ),
    Row(
        "D19",
        "Push and force_download answer FAILED_PRECONDITION NO_STORE",
        _downloads_nothing_alone,
    ),
    Row("D20", "AssetNotFound, VersionNotFound: NOT_FOUND", _has_no_such_line, "api"),
    Row("D21", "`name:1` = the next 1.x", _begins_line, "api"),
    Row("D22", "`name:1.2` = exactly that", _means_exact, "api"),
    Row("D23", "`name:1` = the next 1.x", _means_line, "api"),
    Row("D24", "`1` = newest `1.x`, compared as integers; `1.2` exact", _has_one_spelling, "api"),
    Row("D25", "Which system an asset uses is read from its index", _knows_both_systems, "api"),
    Row("D26", "`bump` unset = minor, or the date", _counts_seconds, "api"),
)


def _cannot_prove(seen: Comparison) -> bool:
    """What modelkit pushed, assetd can compare with nothing."""
    theirs = seen.pushed_by is Party.MODELKIT and seen.step.party is Party.ASSETD
    return theirs and seen.step.action is Action.EXACT and _kinds(seen) == (OK, EXISTS)


# What one of them does in company and does not do alone.
IN_COMPANY: Final = (
    Row(
        "D27",
        "equality that cannot be proven (modelkit's) is ALREADY_EXISTS",
        _cannot_prove,
    ),
)


def judge(seen: Comparison, rows: Sequence[Row] = ROWS) -> str | None:
    """Return the key of the row that the difference belongs to; None where it is a new one."""
    rows = IN_COMPANY if seen.in_company else rows
    return next((row.key for row in rows if row.is_it(seen)), None)
