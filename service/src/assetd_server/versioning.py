"""The two versioning systems: `major.minor`, and dates. Parse, order, next.

Knows no asset and no store. The grammar is modelkit's, narrowed to one canonical spelling a
version, so that two strings never name one version.
"""

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from itertools import chain
from operator import gt

from assetd_server.errors import InvalidVersionError, MixedVersioningError

# 18 digits fit every signed 64-bit reader of an index.
_NUMBER = r"(?:0|[1-9][0-9]{0,17})"
_MAJOR = re.compile(_NUMBER)
_MAJOR_MINOR = re.compile(rf"({_NUMBER})\.({_NUMBER})")
_DATE_SHAPE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2}Z")
_DATE_FORMAT = "%Y-%m-%dT%H-%M-%SZ"
_LAST_DATE = datetime.max.replace(microsecond=0, tzinfo=UTC)


class VersioningSystem(Enum):
    """How the versions of one asset are numbered; the values are modelkit's names."""

    MAJOR_MINOR = "major_minor"
    SIMPLE_DATE = "simple_date"


class Version(tuple[int, ...]):
    """One exact version: its numbers, or its date in seconds, and how it is spelled.

    Compares by number or date, never by text. A tuple, since an asset may have many thousands.
    Comparing versions of two systems is meaningless: `newest_first` refuses it.
    """

    text: str

    def __new__(cls, numbers: Iterable[int], text: str) -> "Version":
        """Make what `parse` returns, of what it has checked."""
        version = super().__new__(cls, numbers)
        version.text = text
        return version

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Return the version that `text` spells.

        Raises:
            InvalidVersionError: not canonical `major.minor`, and not a date that exists.
        """
        return _parsed(text)

    @classmethod
    def of(cls, major: int, minor: int) -> "Version":
        """Return version `major.minor`.

        Raises:
            InvalidVersionError: a number that no version can have.
        """
        return cls.parse(f"{major}.{minor}")

    @property
    def system(self) -> VersioningSystem:
        """The versioning system that this version belongs to."""
        two = len(self) == 2
        return VersioningSystem.MAJOR_MINOR if two else VersioningSystem.SIMPLE_DATE

    @property
    def major(self) -> int | None:
        """The major number; None for a date."""
        return self[0] if self.system is VersioningSystem.MAJOR_MINOR else None

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Version({self.text!r})"


class Versions(tuple[Version, ...]):
    """Distinct versions of one system, newest first; `newest_first` makes them.

    Every push looks at all versions of its asset, and there may be many thousands: what it asks
    here takes a time that hardly grows with them, or the little that copying them takes.
    """

    __slots__ = ()

    @property
    def system(self) -> VersioningSystem | None:
        """The system that all versions share; None where there are none."""
        return self[0].system if self else None

    @property
    def newest(self) -> Version | None:
        """The newest version; None where there is none."""
        return self[0] if self else None

    def newest_of(self, major: int) -> Version | None:
        """Return the newest version of a major's line; None where there is none."""
        place = self.count_newer((major + 1,))
        return self[place] if place < len(self) and self[place].major == major else None

    def __contains__(self, version: object) -> bool:
        if not isinstance(version, Version):
            return False
        place = self.count_newer(version)
        return place < len(self) and self[place] == version

    def joined_by(self, others: Collection[Version]) -> "Versions":
        """Return these versions and others.

        Raises:
            MixedVersioningError: the versions are of two systems.
        """
        added = self.lacking(others)
        if not added:
            return self
        one_system([*self[:1], *added[:1]])
        pieces: list[Iterable[Version]] = []
        begin = 0
        for version in added:
            place = self.count_newer(version)
            pieces += [self[begin:place], (version,)]
            begin = place
        return Versions(chain(*pieces, self[begin:]))

    def lacking(self, others: Collection[Version]) -> "Versions":
        """Return those of others that are not among these.

        Raises:
            MixedVersioningError: they are of two systems.
        """
        return newest_first([other for other in others if other not in self])

    def beyond(self, others: "Versions") -> set[Version]:
        """Return the versions that are not among others."""
        return {version for some in _differing(self, others) for version in some}

    def count_newer(self, numbers: tuple[int, ...]) -> int:
        """Return how many versions are newer."""
        return bisect_left(self, True, key=lambda version: version <= numbers)


NO_VERSIONS = Versions()
# So few are compared faster one by one.
_FEW = 16


def _differing(some: Versions, others: Versions) -> Iterator[Collection[Version]]:
    """Yield those of some that are not among others, which mostly are the same."""
    if some == others:
        return
    if min(len(some), len(others)) <= _FEW:
        yield set(some).difference(others)
        return
    half = len(others) // 2
    place = some.count_newer(others[half])
    yield from _differing(Versions(some[:place]), Versions(others[:half]))
    yield from _differing(Versions(some[place:]), Versions(others[half:]))


@dataclass(frozen=True)
class VersionSelector:
    """What a spec says of the version: nothing (newest), a major line, or one exact version."""

    major: int | None = None
    exact: Version | None = None

    @classmethod
    def parse(cls, text: str) -> "VersionSelector":
        """Return the selector that the version of a spec spells; "" selects the newest.

        Raises:
            InvalidVersionError: neither a major number nor an exact version.
        """
        if not text:
            return NEWEST
        if _MAJOR.fullmatch(text):
            return cls(major=int(text))
        return cls(exact=Version.parse(text))

    def choose(self, versions: Iterable[Version]) -> Version | None:
        """Return the newest of `versions` that is meant; None where there is none.

        Raises:
            MixedVersioningError: the versions are of two systems.
        """
        if self.exact is not None:
            return self.exact if self.exact in versions else None
        ordered = newest_first(versions)
        return ordered.newest if self.major is None else ordered.newest_of(self.major)

    def __str__(self) -> str:
        if self.exact is not None:
            return self.exact.text
        return "" if self.major is None else str(self.major)


NEWEST = VersionSelector()


# An index is read again at every push, and some list thousands.
@lru_cache(maxsize=2**16)
def _parsed(text: str) -> Version:
    if match := _MAJOR_MINOR.fullmatch(text):
        return Version((int(match[1]), int(match[2])), text)
    if _DATE_SHAPE.fullmatch(text):
        try:
            moment = datetime.strptime(text, _DATE_FORMAT).replace(tzinfo=UTC)
        except ValueError:
            moment = None
        if moment is not None:
            return Version((int(moment.timestamp()),), text)
    raise invalid_version(text)


def invalid_version(text: str) -> InvalidVersionError:
    """Return the error for a version that is none."""
    return InvalidVersionError(
        "{version!r} is no version: write a major number as in 1, major.minor as in 1.2 (no leading"
        " zeros), or a date as in 2026-11-23T09-30-00Z",
        field="spec",
        version=text,
    )


def newest_first(versions: Iterable[Version]) -> Versions:
    """Return the distinct versions, newest first, ordered by number or date.

    Raises:
        MixedVersioningError: the versions are of two systems.
    """
    if isinstance(versions, Versions):
        return versions
    ordered = tuple(versions)
    one_system(ordered)
    # Those of an index mostly are.
    if not all(map(gt, ordered, ordered[1:])):
        ordered = tuple(sorted(set(ordered), reverse=True))
    return Versions(ordered)


def one_system(versions: Collection[Version]) -> VersioningSystem | None:
    """Return the system that all versions share; None where there are none.

    Raises:
        MixedVersioningError: the versions are of two systems.
    """
    if len(set(map(len, versions))) > 1:
        first, second = (
            next(version for version in versions if version.system is system)
            for system in VersioningSystem
        )
        raise MixedVersioningError(
            "the asset mixes versions such as {first} and {second}: keep the versions of one"
            " system, and remove the others from the store's index",
            first=first,
            second=second,
        )
    return next((version.system for version in versions), None)


def next_version(
    known: Versions,
    system: VersioningSystem,
    now: datetime,
    *,
    major: int | None = None,
    bump_major: bool = False,
) -> Version:
    """Return the version that follows what is known; 0.0 is the first.

    Without `major` the newest's minor is raised (`bump_major`: its major). With `major` the next of
    that line, `major.0` where the line is new. A date is `now`, and never one that is already
    taken: two pushes within one second get two dates.

    Raises:
        InvalidVersionError: the asset counts by dates, and a major was asked for; or the newest is
            the last that can be written. It names the field of a push's header.
    """
    newest = known.newest
    if system is VersioningSystem.SIMPLE_DATE:
        if major is not None or bump_major:
            raise InvalidVersionError(
                "the asset counts by dates: it has no major versions; push the bare name, and no"
                " bump",
                field="header.bump" if bump_major else "header.spec",
            )
        return _next_date(newest, now)
    newest_major = newest[0] if newest else -1
    if bump_major:
        return _numbered(newest_major + 1, 0, after=newest)
    line = max(newest_major, 0) if major is None else major
    last = known.newest_of(line)
    return _numbered(line, last[1] + 1 if last else 0, after=last)


def _numbered(major: int, minor: int, *, after: Version | None) -> Version:
    try:
        return Version.of(major, minor)
    except InvalidVersionError:
        raise _no_next("number", after) from None


def _no_next(what: str, after: Version | None) -> InvalidVersionError:
    return InvalidVersionError(
        f"no {what} follows {{version}}: push an exact version", field="header.spec", version=after
    )


def _next_date(newest: Version | None, now: datetime) -> Version:
    moment = now.astimezone(UTC).replace(microsecond=0)
    if newest:
        last = datetime.fromtimestamp(newest[0], UTC)
        if last >= _LAST_DATE:
            raise _no_next("date", newest)
        moment = max(moment, last + timedelta(seconds=1))
    return Version.parse(moment.strftime(_DATE_FORMAT))
