"""The targets that are texts: specs, names, versions, parts, and the prefix of a listing.

Each grammar is written down a second time, as slowly as it may be, and has to agree.
"""

import asyncio
import os.path
import re
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from datetime import UTC, datetime
from typing import Any, Final, Optional, TypeVar

from assetd import _local
from assetd._holds import Holds
from assetd_server.errors import (
    AssetError,
    InvalidFieldError,
    InvalidNameError,
    InvalidPartError,
    InvalidSpecError,
    InvalidVersionError,
)
from assetd_server.model import AssetName, NamePrefix, PartPath, require_distinct_parts
from assetd_server.spec import MAX_SPEC_CHARACTERS, Spec
from assetd_server.store.catalog import Catalog
from assetd_server.store.local.store import LocalStore
from assetd_server.versioning import Version, VersioningSystem, VersionSelector

from tests.fuzz.mutating import PIECES, of_pieces
from tests.fuzz.places import (
    ANY_VERSION,
    Watch,
    World,
    keys_of,
    require_beneath,
    require_version_in_place,
)
from tests.fuzz.target import MAX_CPU_NS_A_BYTE, Target

T = TypeVar("T")
# None is a file.
_Folder = dict[str, Optional["_Folder"]]

_SPEC_ERRORS: Final = (InvalidSpecError, InvalidNameError, InvalidVersionError, InvalidPartError)
_SIGNS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME_SIGNS: Final = _SIGNS | frozenset("_.-/")
_UNFIT: Final = frozenset([*map(chr, range(32)), "\x7f", "\\"])
_DIGITS: Final = frozenset("0123456789")

# Nothing but what is good: what is bad is the engine's to find.
_SPECS: Final = (
    *(b"some/asset", b"some/asset:1", b"some/asset:0.1", b"a:0.1[sub/c]", b"a:1.2[/b]", b"a[b]"),
    *(b"some/asset:2026-11-23T09-30-00Z", b"a:0.9", b"a:0.1[link]"),
)
# What can be hit, and so what a hit has to be told from.
_STANDING: Final = (
    b"some/asset:0.1",
    b"a:0.1",
    b"a:1.2",
    b"a:0.9",
    b"[b]",
    b"[sub/c]",
    b"[link]",
    b"[link/b]",
)
_NAMES: Final = (b"some/asset", b"a", b"A-b_c.d/E9", b"a/.hidden/b", b"2026-11-23/v1.2.3")
_VERSIONS: Final = (b"0.0", b"1", b"1.2", b"2026-11-23T09-30-00Z", b"2024-02-29T23-59-59Z")
_PARTS: Final = (b"content0", b"sub/part", b".gitattributes", b"a b/\xc3\xa9")
_LISTS: Final = (b"a\nb", b"a/b\na/c\nd", b"x y\nx.z")
_PREFIXES: Final = (b"some/", b"some/a", b"a", b"")


def text_targets(world: World, watch: Watch) -> Iterable[Target]:
    """Yield them; they look into the `world`, and tell the `watch`."""

    def look(_given: object, found: Spec) -> None:
        version = found.exact or ANY_VERSION
        world.look_in_cache(found.name, version, found.part)
        world.look_in_store(watch, keys_of(found.name, version, found.part))

    yield Target("spec", Spec.parse, _SPEC_ERRORS, judge_spec, _SPECS, of_pieces(_SPECS), look=look)
    yield Target(
        "name",
        AssetName,
        (InvalidNameError,),
        judge_name,
        _NAMES,
        of_pieces(_NAMES),
        max_bytes=1_500,
        look=lambda given, name: look(given, Spec(name)),
    )
    yield Target(
        "version",
        VersionSelector.parse,
        (InvalidVersionError,),
        judge_version,
        _VERSIONS,
        of_pieces(_VERSIONS),
        max_bytes=300,
        look=lambda given, selector: look(given, Spec(AssetName("a"), selector)),
    )
    yield Target(
        "part",
        PartPath,
        (InvalidPartError,),
        judge_part,
        _PARTS,
        of_pieces(_PARTS),
        max_bytes=1_500,
        look=lambda given, part: look(given, Spec(AssetName("a"), part=part)),
    )
    yield Target(
        "parts",
        distinct,
        (InvalidPartError,),
        judge_parts,
        _LISTS,
        of_pieces(_LISTS, (b"\n", b"/", b"a", b"a/b", b"\na/", b" ", b".", b"a/b/c", b"\x21")),
        given=valid_parts,
        max_bytes=300,
        max_cpu_ns_a_byte=MAX_CPU_NS_A_BYTE,
    )
    yield Target(
        "fast-path",
        FastPath(world, watch).hit,
        (),
        judge_fast_path,
        _SPECS,
        of_pieces(_SPECS, [*PIECES, *_STANDING]),
        opens_nothing=False,
    )
    yield Target(
        "prefix",
        Prefixes(world, watch).names,
        (InvalidFieldError,),
        judge_prefix,
        _PREFIXES,
        of_pieces(_PREFIXES),
        max_bytes=1_500,
        opens_nothing=False,
    )


def judge_spec(text: str, spec: Spec | None) -> None:
    """What is read means what was asked, and reads the same when it is echoed."""
    if spec is None:
        return
    assert len(text) <= MAX_SPEC_CHARACTERS
    assert Spec.parse(str(spec)) == spec
    assert str(spec).replace("[/", "[") == text.replace("[/", "[")
    judge_name(str(spec.name), spec.name)
    judge_version(str(spec.selector), spec.selector)
    require_version_in_place(spec.name, spec.exact or ANY_VERSION, spec.part)


def judge_name(text: str, name: AssetName | None) -> None:
    """Taken by the rule and only then; what can be pushed besides collides with nothing."""
    segments = text.split("/")
    follows_rule = (
        set(text) <= _NAME_SIGNS
        and len(text) <= 1024
        and text[:1] in _SIGNS
        and text[-1:] in _SIGNS
        and all(s not in ("", ".") and ".." not in s and len(s) <= 255 for s in segments)
    )
    assert follows_rule is (name is not None), text
    if name is None:
        return
    assert str(name) == text
    assert name.segments == tuple(segments)
    require_version_in_place(name, ANY_VERSION, None)
    try:
        name.require_pushable()
        pushable = True
    except InvalidNameError:
        pushable = False
    has_room = len(f"{segments[-1]}.versions") <= 255
    assert pushable is (has_room and all(map(_may_be_pushed, segments))), text


def _may_be_pushed(segment: str) -> bool:
    major, dot, minor = segment.partition(".")
    is_number = set(major) <= _DIGITS and (not dot or (bool(minor) and set(minor) <= _DIGITS))
    shape = "".join("0" if sign in _DIGITS else sign for sign in segment)
    return (
        segment[0] in _SIGNS
        and segment[-1] in _SIGNS
        and not segment.endswith((".versions", ".meta", ".lock", ".SUCCESS"))
        and not is_number
        and shape != "0000-00-00T00-00-00Z"
    )


def judge_version(text: str, selector: VersionSelector | None) -> None:
    """One spelling a version: no zero in front, no digits but ours, and dates that there were."""
    major, dot, minor = text.partition(".")
    if not text or (_is_number(major) and (not dot or _is_number(minor))):
        assert selector is not None, text
        assert str(selector) == text
        assert (selector.exact is None) is (not dot)
    else:
        assert (selector is not None) is _is_date(text), text
    if selector is not None and selector.exact is not None:
        version = selector.exact
        assert Version.parse(text) == version
        assert version.text == text
        if version.system is VersioningSystem.MAJOR_MINOR:
            assert f"{version[0]}.{version[1]}" == text
        else:
            again = datetime.fromtimestamp(version[0], UTC)
            assert f"{again.year:04}" == text[:4]
            assert again.strftime("-%m-%dT%H-%M-%SZ") == text[4:]
        require_version_in_place(AssetName("a"), version, None)


def _is_number(text: str) -> bool:
    return 0 < len(text) <= 18 and set(text) <= _DIGITS and (text == "0" or text[0] != "0")


def _is_date(text: str) -> bool:
    shape = "".join("0" if sign in _DIGITS else sign for sign in text)
    if shape != "0000-00-00T00-00-00Z":
        return False
    try:
        datetime(*map(int, re.split("[-TZ]", text)[:6]), tzinfo=UTC)  # type: ignore[misc,arg-type]
    except ValueError:
        return False
    return True


def judge_part(text: str, part: PartPath | None) -> None:
    """Taken by the rule and only then."""
    try:
        segments = [segment.encode() for segment in text.split("/")]
    except UnicodeEncodeError:
        segments = [b""]
    follows_rule = (
        all(s not in (b"", b".", b"..", b".SUCCESS") and len(s) <= 255 for s in segments)
        and len(b"/".join(segments)) <= 1024
        and not _UNFIT & set(text)
    )
    assert follows_rule is (part is not None), text
    if part is not None:
        assert str(part) == text
        assert PartPath(str(part)) == part
        require_version_in_place(AssetName("some/asset"), Version.parse("0.1"), part)


def valid_parts(raw: bytes) -> list[PartPath]:
    """The lines that are parts."""
    found = []
    for line in raw.decode("utf-8", "replace").split("\n"):
        try:
            found.append(PartPath(line))
        except InvalidPartError:
            continue
    return found


def distinct(paths: list[PartPath]) -> list[PartPath]:
    """Return them, unless they cannot stand beside each other."""
    require_distinct_parts(paths)
    return paths


def judge_parts(paths: list[PartPath], found: list[PartPath] | None) -> None:
    """Refused or not as a file system would."""
    root: _Folder = {}
    assert all(_could_be_made(root, path.segments) for path in paths) is (found is not None)


def _could_be_made(folder: _Folder, segments: tuple[str, ...]) -> bool:
    *above, leaf = segments
    for segment in above:
        inside = folder.setdefault(segment, {})
        if inside is None:
            return False
        folder = inside
    if leaf in folder:
        return False
    folder[leaf] = None
    return True


class FastPath:
    """The client's own look below ASSETS_DIR, with and without a hold."""

    def __init__(self, world: World, watch: Watch) -> None:
        self._world = world
        self._watch = watch
        self._path = _local.FastPath(str(world.readers), Holds(), clock=lambda: 0.0)

    def hit(self, spec: str) -> list[str]:
        """Return where it was found."""
        found = []
        for hold in (False, True):
            with self._watch.keeping_below(self._world.readers):
                asset = self._path.hit(spec, hold=hold)
            if asset is not None:
                # Looks without opening are heard by nobody.
                assert os.path.realpath(asset) == str(asset), f"{asset} leads elsewhere"
                found.append(str(asset))
                asset.close()
        return found


def judge_fast_path(text: str, found: list[str] | None) -> None:
    """What it takes is what the daemon would have taken, at the same place."""
    match = _local.SPEC.fullmatch(text)
    if match is None or ".." in text:
        assert not found
        return
    name, version, part = match.groups()
    try:
        spec = Spec.parse(text)
    except InvalidVersionError:
        # No such date is anywhere.
        assert not found
        return
    except AssetError:
        # No file system has a name that long.
        assert any(len(segment) > 255 for segment in text.split("/")) or len(text) > 1000
        assert not found
        return
    assert (spec.name, str(spec.exact), spec.part) == (name, version, part)
    require_beneath(f"{name}/{version}/{part}" if part else f"{name}/{version}")


class Prefixes:
    """A listing by prefix, of a store in a directory."""

    def __init__(
        self, world: World, watch: Watch, prefix: Callable[[str], NamePrefix] = NamePrefix
    ) -> None:
        self._world = world
        self._watch = watch
        self._prefix = prefix
        store = LocalStore(world.store, executor=_AtOnce())
        self._catalog = Catalog(store, asyncio.sleep, lambda: datetime.now(UTC))
        self._loop = asyncio.new_event_loop()

    def names(self, text: str) -> list[AssetName]:
        """Return the names of the assets that begin so."""
        prefix = self._prefix(text)
        with self._watch.keeping_below(self._world.store):
            return self._loop.run_until_complete(self._catalog.names(prefix))


def judge_prefix(prefix: str, names: list[AssetName] | None) -> None:
    """Only what is in the store, and only what begins so."""
    assert set(names or ()) <= {"some/asset", "a"}
    assert all(name.startswith(prefix) for name in names or ())


class _AtOnce(Executor):
    """Runs what it is given at once, in the caller's thread."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it is the future's, as in any executor
            done.set_exception(error)
        return done
