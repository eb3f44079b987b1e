"""Figures of alternating runs: medians, and ratios that are taken round by round.

A machine's speed drifts over minutes, and hits both sides of one round alike; so the ratio is the
median of the rounds' ratios, not the ratio of two medians.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass
class Comparison:
    """One line of the table: the seconds of both sides, a pair a round."""

    name: str
    ours_seconds: list[float] = field(default_factory=list)
    peer_seconds: list[float] = field(default_factory=list)

    def add(self, ours_seconds: float, peer_seconds: float) -> None:
        """Add a round."""
        self.ours_seconds.append(ours_seconds)
        self.peer_seconds.append(peer_seconds)

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios; below 1 we are faster."""
        pairs = zip(self.ours_seconds, self.peer_seconds, strict=True)
        return median(ours / peer for ours, peer in pairs)

    def as_row(self) -> tuple[str, ...]:
        """Return name, median seconds of both sides with their ranges, and the ratio."""
        return (
            self.name,
            spread(self.ours_seconds),
            spread(self.peer_seconds),
            f"{self.ratio:.2f}",
        )

    def as_json(self) -> dict[str, object]:
        """Return all that was measured."""
        return {
            "name": self.name,
            "ours_seconds": self.ours_seconds,
            "peer_seconds": self.peer_seconds,
            "ratio": self.ratio,
        }


def spread(seconds: Sequence[float]) -> str:
    """Return the median and the range, for a table."""
    return f"{median(seconds):.2f} ({min(seconds):.2f}..{max(seconds):.2f})"


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value below which `percent` of the sorted `values` lie."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]
