"""Globs over the paths of parts: `*` and `?` stop at `/`, `**` crosses it. Pure, and never slow.

Matched segment by segment with a table instead of one large regular expression, whose backtracking
a caller could make exponential.
"""

from collections.abc import Sequence

from assetd_server.errors import InvalidFieldError

_MAX_GLOBS = 100
_MAX_GLOB_CHARACTERS = 1024


class PartFilter:
    """Which parts are meant: those that an include matches (all without one), less the excludes."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        """Check the globs.

        Raises:
            InvalidFieldError: too many, too long, or empty.
        """
        _check("include", include)
        _check("exclude", exclude)
        self._include = include
        self._exclude = exclude

    def matches(self, path: str) -> bool:
        """Tell whether the part at `path` is meant."""
        included = not self._include or any(glob_matches(glob, path) for glob in self._include)
        return included and not any(glob_matches(glob, path) for glob in self._exclude)


def glob_matches(glob: str, path: str) -> bool:
    """Tell whether `path` as a whole matches `glob`; a segment `**` stands for any folders."""
    patterns, segments = glob.split("/"), path.split("/")
    # reachable[i]: the patterns so far can have consumed the first i segments.
    reachable = [True] + [False] * len(segments)
    for position, pattern in enumerate(patterns):
        last = position == len(patterns) - 1
        if pattern == "**":
            first = next((i for i, ok in enumerate(reachable) if ok), len(reachable))
            # At the end it stands for files, so for at least one segment.
            reachable = [i >= first + last for i in range(len(reachable))]
        else:
            reachable = [False] + [
                reachable[i] and segment_matches(pattern, segment)
                for i, segment in enumerate(segments)
            ]
    return reachable[-1]


def segment_matches(pattern: str, text: str) -> bool:
    """Tell whether one segment matches; `*` is any run of characters, `?` any one.

    Linear in practice: a `*` that failed is never tried again once a later one was reached.
    """
    at, position, star, resume = 0, 0, -1, 0
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[position]):
            at += 1
            position += 1
        elif star >= 0:
            resume += 1
            at, position = star + 1, resume
        else:
            return False
    return all(char == "*" for char in pattern[at:])


def _check(field: str, globs: Sequence[str]) -> None:
    if len(globs) > _MAX_GLOBS:
        raise InvalidFieldError(
            "{field} has {count} globs, and {limit} are allowed",
            field=field,
            count=len(globs),
            limit=_MAX_GLOBS,
        )
    for glob in globs:
        if not glob or len(glob) > _MAX_GLOB_CHARACTERS:
            raise InvalidFieldError(
                "{field}: {glob!r} is no glob: write 1 to {limit} characters",
                field=field,
                glob=glob,
                limit=_MAX_GLOB_CHARACTERS,
            )
