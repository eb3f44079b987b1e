"""Globs over the paths of files, as the contract has them: `*` and `?` stop at `/`, `**` does not.

Pure, and never slow: segment by segment, since one expression for all could backtrack for ever.
"""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from assetd.errors import InvalidFieldError

Segments = Sequence[str]


class Globs:
    """What some globs match together; without any, nothing."""

    def __init__(self, globs: Iterable[str] = ()) -> None:
        """Take the globs; a single text is one of them.

        Raises:
            InvalidFieldError: one can match nothing.
        """
        given = [globs] if isinstance(globs, str) else list(globs)
        for glob in given:
            # A shell completes `cache` to `cache/`; what was to be left out would be pushed.
            if "" in glob.split("/"):
                raise InvalidFieldError(
                    f"{glob!r} matches no path: write FOLDER/** for what is in a folder",
                    metadata={"field": "exclude"},
                )
        self._globs = [_literal_brackets(glob).split("/") for glob in given]

    def __bool__(self) -> bool:
        return bool(self._globs)

    def match(self, path: str) -> bool:
        """Tell whether one of them matches the file at `path`."""
        segments = path.split("/")
        return any(_matches(glob, segments) for glob in self._globs)

    def match_all_below(self, path: str) -> bool:
        """Tell whether one of them matches whatever the folder at `path` may hold."""
        segments = path.split("/")
        return any(
            glob[-1] == "**" and (_matches(glob, segments) or _matches(glob[:-1], segments))
            for glob in self._globs
        )


def _literal_brackets(glob: str) -> str:
    """Return the glob for `fnmatch`, to which brackets mean something."""
    return glob.replace("[", "[[]")


def _matches(glob: Segments, path: Segments) -> bool:
    """Tell whether the whole path matches; a segment `**` stands for any folders."""
    # How many segments of the path the part of the glob so far may stand for.
    taken = {0}
    for position, pattern in enumerate(glob, start=1):
        if pattern != "**":
            taken = {n + 1 for n in taken if n < len(path) and fnmatchcase(path[n], pattern)}
        elif taken:
            # At the end it stands for files, and so for one segment at least.
            taken = set(range(min(taken) + (position == len(glob)), len(path) + 1))
    return len(path) in taken
