"""One push that is stopped at a step, what is told of it and after it, and what is then right.

Who judges looks at the bucket from outside, and knows what was acknowledged: each version that was,
and no other, is listed, once, and holds what was acknowledged.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from tests.support.buckets import Bucket, SeenAsset, digest_of, look, newest_first
from tests.support.http_proxy import Request
from tests.support.push_shapes import FIRST, Shape
from tests.support.versions import Content
from tests.support.wire_pushes import Outcome, new_push_id

EXISTS = "VERSION_EXISTS"
IN_PROGRESS = "PUSH_IN_PROGRESS"
UNAVAILABLE = "STORE_UNAVAILABLE"
SUCCESS = ""


class Order(Enum):
    """Who comes first after the restart."""

    REPEAT = "the same push"
    OTHER = "other content"


@dataclass
class Case:
    """One push on an asset of its own, and what came of it and after it."""

    name: str
    shape: Shape
    step: int
    order: Order = Order.REPEAT
    push_id: str = field(default_factory=new_push_id)
    held: list[Request] = field(default_factory=list)
    # What began one got no answer, or had no sender any more: nobody can know of it.
    may_leave_an_upload: bool = False
    acknowledged: dict[str, Content] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    @property
    def spec(self) -> str:
        """What is pushed."""
        return f"{self.name}{self.shape.selector}"

    def look(self, bucket: Bucket) -> SeenAsset:
        """Return what the bucket holds of the asset now."""
        return look(bucket, self.name)

    def expect(self, what: str, outcome: Outcome, content: Content, *allowed: str) -> None:
        """Take note of an outcome: it is a finding unless its reason is allowed."""
        if outcome.is_ok:
            before = self.acknowledged.setdefault(outcome.version, content)
            if before != content:
                self.find(f"{what}: two contents were acknowledged as {outcome.version}")
        if outcome.reason not in allowed or outcome.is_ok != (not outcome.reason):
            self.find(f"{what} ended with {outcome}, and not with {' or '.join(allowed) or 'OK'}")

    def find(self, what: str) -> None:
        """Take note of what is wrong."""
        where = f" ({self.held[0]})" if self.held else ""
        self.findings.append(
            f"{self.shape.name} at step {self.step}{where}, then {self.order.value}: {what}"
        )

    def judge(self, bucket: Bucket, *, may_leave_litter: bool) -> None:
        """Look at what there is in the end. Litter is a claim beside a manifest, of a late call.

        A number that was claimed and given up keeps its released record, until somebody takes it.
        """
        seen = self.look(bucket)
        for finding in [*seen.findings(), *self._compared(seen)]:
            self.find(finding)
        for version, state in seen.claim_states().items():
            is_record = state == "released" and version not in seen.metas
            is_litter = may_leave_litter and version in seen.metas
            if not is_record and not is_litter:
                self.find(f"the claim on {version} is left, {state}")

    def _compared(self, seen: SeenAsset) -> Iterator[str]:
        if set(seen.metas) != set(self.acknowledged):
            yield f"there are {[*seen.metas]}, and {[*self.acknowledged]} were acknowledged"
        for version, content in self.acknowledged.items():
            if version in seen.metas and digest_of(seen.content(version)) != digest_of(content):
                yield f"{version} does not hold what was acknowledged"


def next_version(seen: SeenAsset) -> str:
    """Return what a bump has to make."""
    if not seen.metas:
        return FIRST
    major, minor = newest_first(seen.metas)[0].split(".")
    return f"{major}.{int(minor) + 1}"
