"""What `assetd doctor` says of one thing."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """One check: `state` is ok, warn or fail; `text` explains it and says what to do.

    `values` are what the text shows, for programs.
    """

    check: str
    state: str
    text: str
    values: Mapping[str, object] = field(default_factory=dict)

    def as_object(self) -> dict[str, object]:
        """Return the finding as it is printed in JSON."""
        return {"check": self.check, "state": self.state, "text": self.text, **self.values}


def ok(check: str, text: str, **values: object) -> Finding:
    """Nothing is to be done."""
    return Finding(check, "ok", text, values)


def warn(check: str, text: str, **values: object) -> Finding:
    """It works, and somebody should look at it."""
    return Finding(check, "warn", text, values)


def fail(check: str, text: str, **values: object) -> Finding:
    """It does not work."""
    return Finding(check, "fail", text, values)
