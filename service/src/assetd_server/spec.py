"""The spec string: `name/of/asset[:version][[sub/part]]`, the grammar that modelkit users write.

Parsed by hand in linear time with a length cap: modelkit's regular expression takes seconds for 28
characters. Knows no store and no cache.
"""

from dataclasses import dataclass, replace

from assetd_server.errors import InvalidSpecError
from assetd_server.model import AssetName, PartPath
from assetd_server.versioning import NEWEST, Version, VersionSelector

MAX_SPEC_CHARACTERS = 4096


@dataclass(frozen=True)
class Spec:
    """What a caller asks for: an asset, which version of it, and maybe a part inside it."""

    name: AssetName
    selector: VersionSelector = NEWEST
    part: PartPath | None = None

    @classmethod
    def parse(cls, text: str) -> "Spec":
        """Return the spec that `text` spells.

        Raises:
            InvalidSpecError: empty, too long, or brackets out of place.
            InvalidNameError, InvalidVersionError, InvalidPartError: that piece is wrong.
        """
        if not text:
            raise _invalid("the spec is empty", text)
        if len(text) > MAX_SPEC_CHARACTERS:
            raise _invalid(f"a spec has at most {MAX_SPEC_CHARACTERS} characters", text)
        asset, part = _split_part(text)
        name, colon, version = asset.partition(":")
        if colon and not version:
            raise _invalid("a version is missing after ':'; leave ':' out for the newest", text)
        return cls(AssetName(name), VersionSelector.parse(version), part)

    @property
    def exact(self) -> Version | None:
        """The version, where the spec pins one."""
        return self.selector.exact

    def pinned_to(self, version: Version) -> "Spec":
        """Return the same spec, pinned to `version`."""
        return replace(self, selector=VersionSelector(exact=version))

    def __str__(self) -> str:
        version, part = str(self.selector), self.part
        return self.name + (f":{version}" if version else "") + (f"[{part}]" if part else "")


def _split_part(text: str) -> tuple[str, PartPath | None]:
    asset, bracket, rest = text.partition("[")
    if not bracket:
        if "]" in text:
            raise _invalid("']' without '['", text)
        return asset, None
    if not rest.endswith("]"):
        raise _invalid("the part is not closed: write name:version[sub/part]", text)
    return asset, PartPath(rest[:-1].removeprefix("/"))


def _invalid(why: str, text: str) -> InvalidSpecError:
    return InvalidSpecError("{spec!r} is no spec: {why}", field="spec", spec=text, why=why)
