"""Seeded bugs: the fuzz is believed because it finds these.

Each is a reader as somebody might have written it, in the place of ours; no module of ours is
touched.
"""

import base64
import itertools
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from assetd_server.assets.paging import read_token
from assetd_server.errors import InvalidNameError, InvalidPartError, InvalidSpecError
from assetd_server.manifest import Manifest, decode_index, decode_manifest
from assetd_server.model import AssetName, NamePrefix, PartPath
from assetd_server.spec import Spec
from assetd_server.versioning import Version, VersionSelector

from tests.fuzz.documents import ARGUMENTS
from tests.fuzz.places import Watch, World
from tests.fuzz.target import Target
from tests.fuzz.texts import Prefixes

# One character more doubles the time, as in the expression by which modelkit reads a spec.
_NESTED: Final = re.compile(r"(?:[A-Za-z0-9_.-]+/?)+(?::[0-9.TZ-]+)?(?:\[.*\])?", re.DOTALL)
_ANY_NUMBER: Final = re.compile(r"(\d+)\.(\d+)")


def by_nested_expression(text: str) -> Spec:
    """The grammar as one regular expression."""
    if not _NESTED.fullmatch(text):
        raise InvalidSpecError("{spec} is no spec", field="spec", spec=text)
    return Spec.parse(text)


def without_a_look_at_dots(text: str) -> AssetName:
    """`..` is taken for any two signs."""
    AssetName(text.replace("..", "xx"))
    return str.__new__(AssetName, text)


class _LaxName(AssetName):
    def require_pushable(self) -> None:
        """Check as ever, but for the ending of modelkit's locks."""
        with suppress(InvalidNameError):
            AssetName(self.replace(".lock", "xlock")).require_pushable()
            return
        super().require_pushable()


def with_any_digits(text: str) -> VersionSelector:
    """Numbers as Python reads them: with zeros in front, in every script."""
    if match := _ANY_NUMBER.fullmatch(text):
        return VersionSelector(exact=Version((int(match[1]), int(match[2])), text))
    return VersionSelector.parse(text)


def with_a_look_at_the_disk(text: str) -> PartPath:
    """A part is looked for before it is checked."""
    with suppress(OSError, ValueError), Path(text).open("rb"):
        pass
    return PartPath(text)


def by_neighbours(paths: list[PartPath]) -> list[PartPath]:
    """What lies in a folder follows it when they are sorted; or so it seems."""
    ordered = sorted(paths)
    for path, following in itertools.pairwise(ordered):
        if path == following or following.startswith(f"{path}/"):
            raise InvalidPartError("{part}", field="spec", part=path)
    return paths


def with_labels_taken_for_granted(raw: bytes) -> Manifest:
    """Every `.meta` of ours has labels, has it not?"""
    manifest = decode_manifest(raw, "key")
    ours = json.loads(raw).get("assetd")
    return replace(manifest, labels=ours["labels"]) if ours else manifest


def with_labels_as_they_come(raw: bytes) -> Manifest:
    """JSON's texts are texts; or so it seems."""
    manifest = decode_manifest(re.sub(rb"\\ud[89a-f]..", b"x", raw), "key")
    ours = json.loads(raw).get("assetd") or {}
    return replace(manifest, labels=ours.get("labels", {}))


def by_counting(raw: bytes) -> list[Version]:
    """Each version once, by a comparison of each with each."""
    versions = decode_index(raw, "key")
    return [one for one in versions if sum(one == other for other in versions) == 1]


def without_an_end_to_nesting(token: str) -> list[str] | None:
    """Python's own failure for what is nested too deeply is none of ours."""
    with suppress(ValueError):
        json.loads(base64.urlsafe_b64decode(token))
    return read_token(token, ARGUMENTS, 2)


@dataclass(frozen=True)
class Bug:
    """A target, and what reads its input instead."""

    target: str
    reader: Callable[[World, Watch], Callable[[Any], Any]]


BUGS: Final[Mapping[str, Bug]] = {
    "exponential expression": Bug("spec", lambda *_: by_nested_expression),
    "a name may climb": Bug("name", lambda *_: without_a_look_at_dots),
    "a lock may be pushed": Bug("name", lambda *_: _LaxName),
    "any digits": Bug("version", lambda *_: with_any_digits),
    "a part is opened": Bug("part", lambda *_: with_a_look_at_the_disk),
    "a file and a folder": Bug("parts", lambda *_: by_neighbours),
    "a key is missing": Bug("manifest", lambda *_: with_labels_taken_for_granted),
    "half a surrogate pair": Bug("manifest", lambda *_: with_labels_as_they_come),
    "quadratic time": Bug("index", lambda *_: by_counting),
    "deep nesting": Bug("token", lambda *_: without_an_end_to_nesting),
    "a prefix may climb": Bug(
        "prefix",
        lambda world, watch: (
            Prefixes(world, watch, lambda text: str.__new__(NamePrefix, text)).names
        ),
    ),
}


def seeded(name: str, target: Target, world: World, watch: Watch) -> Target:
    """Return the target with a bug in it."""
    assert BUGS[name].target == target.name
    return replace(target, read=BUGS[name].reader(world, watch))
