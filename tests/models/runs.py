"""The models of docs/models as programs: which run is expected to find what.

Knows the models by their command lines and by the line that each prints for a configuration.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from tests.conftest import ROOT

MODELS: Final = ROOT / "docs/models"

_LINE: Final = re.compile(
    r"(?P<title>\S+) +(?P<states>\d+) states .*?(?P<seconds>[\d.]+) s +(?P<verdict>.+)"
)
# What docs/models/README.md says that nobody can promise, by what a configuration is called.
_EXPECTED: Final = {
    r"^(file|dir)-.*modelkit": {"6e"},
    r"^(file|dir)-filelock-unlinks": {"6e"},
    r"^(file|dir)-lock-deleted": {"1", "6", "6e"},
    r"^fence(\+index)?(\+sweep)?/(?!mk\.)": {"6v"},
    r"^fence(\+index)?/mk\.": {"1", "2", "2b", "3", "5a", "6v"},
}


@dataclass(frozen=True)
class Outcome:
    """What one configuration of a model came to; `found` are the invariants that it violates."""

    title: str
    states: int
    seconds: float
    found: frozenset[str]

    @property
    def holds(self) -> bool:
        """Whether nothing is violated but what nobody promises."""
        return self.found <= allowed(self.title)


@dataclass(frozen=True)
class Run:
    """A model, some of its configurations, and a rule taken out.

    A configuration is given by how its title begins; a whole title ends with `$`. `part` names one
    that a model leaves out otherwise, as few configurations have a use for it.
    """

    model: str
    configurations: tuple[str, ...] = ()
    bug: str = ""
    # What comes back without that rule, wherever it does.
    violates: str = ""
    part: str = ""

    def __str__(self) -> str:
        """A name for people."""
        words = (self.model, self.part, self.bug or "protocol", *self.configurations)
        return " ".join(word for word in words if word)

    @property
    def command(self) -> list[str]:
        """The program and its arguments."""
        program = [sys.executable, str(MODELS / f"{self.model}_model.py")]
        if self.model == "push":
            return [*program, *(f"{self._flags}{name}" for name in self.configurations or ("",))]
        chosen = [word for name in self.configurations for word in ("-c", name)]
        return [*program, *chosen, *(["--bug", self.bug] if self.bug else [])]

    @property
    def _flags(self) -> str:
        """How a title of the push's model begins."""
        # As the code does it, and not as the design first had it (decision 0008).
        rules = ["fence", "index", self.part, f"-{self.bug}" if self.bug else ""]
        return "+".join(rule for rule in rules if rule) + "/"

    def alone(self) -> list["Run"]:
        """Each of its configurations as a run of its own."""
        said = subprocess.run([*self.command, "--titles"], stdout=subprocess.PIPE, check=True)
        titles = (title.removeprefix(self._flags) for title in said.stdout.decode().split())
        return [replace(self, configurations=(f"{title}$",)) for title in titles]

    def outcomes(self) -> Iterator[Outcome]:
        """Runs the model and yields what each configuration came to, as it comes."""
        with subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip():
                    yield outcome_of(line)
        assert process.returncode == 0, f"{self} ended with {process.returncode}"


def allowed(title: str) -> frozenset[str]:
    """What a configuration may violate."""
    return frozenset().union(*(found for how, found in _EXPECTED.items() if re.search(how, title)))


def outcome_of(line: str) -> Outcome:
    """Reads a model's line; a search that did not come to its end has found `!`."""
    match = _LINE.fullmatch(line.strip())
    assert match is not None, f"no line of a model: {line!r}"
    title, verdict = match["title"], match["verdict"]
    if "violated: " in verdict:
        words = verdict.split("violated: ")[1].split()
        found = set(words) - {"none"} | ({"!"} if "NOT EXHAUSTED" in verdict else set())
    else:
        found = {text.split()[0] for text in verdict.split("; ")} - {"holds"}
    return Outcome(title, int(match["states"]), float(match["seconds"]), frozenset(found))


# Configurations that take seconds, each of another sort.
SHORT: Final = (
    Run("cache", ("file-kill-twice", "dir-kill-twice", "file-plain", "dir-plain")),
    Run("cache", ("file-caller-ordered", "file-modelkit-operator/ours", "file-lock-deleted")),
    Run("push", ("ACB.late1", "AAB.stop1", "AB.lost.rel", "bump.ab", "bump.a.q.q", "mk.")),
    Run("push", ("ABleft.late2.stop1",), part="sweep"),
    Run("partial", ("evict-twice", "power-force", "power-growers")),
    Run("beginning", ("dn$", "NN$", "Nn$")),
)
ALL: Final = (
    Run("cache"),
    Run("push"),
    Run("push", part="sweep"),
    Run("partial"),
    Run("beginning"),
)


def _without(model: str, *rules: str, part: str = "") -> Iterator[Run]:
    """Runs with one rule taken out each: `rule configuration invariant`."""
    for rule in rules:
        bug, configuration, violates = rule.split()
        yield Run(model, (configuration,), bug, violates, part)


# The first of each model take seconds.
BUGS_SHORT: Final = (
    *_without("cache", "hit-no-hold file-kill-twice 4", "noreplace-fails dir-kill-twice 5"),
    *_without("push", "new AB.late1.lost.rel 1"),
    *_without("push", "list ABleft.late2.stop1 7", part="sweep"),
    *_without("partial", "no-recheck-reader evict-twice 2", "no-sync-parent power-force 3"),
    *_without("beginning", "no-again dn$ 1", "no-claims NN$ 2"),
)
BUGS: Final = (
    *BUGS_SHORT,
    *_without(
        "cache",
        "lease-on-marker file-operator/ours 2s",
        "unlink-marker file-power-any 3",
        "hit-no-sync file-caller-any 3",
        "adopt-no-sync file-power-any 3",
        "in-place file-kill-twice 1",
        "no-fsync file-power-any 3",
        "evict-data-first file-kill-twice 6e",
        "evict-peeks file-modelkit/ours 2",
        "evict-no-ex file-modelkit/ours 2",
        "no-recheck-reader file-operator/ours 2",
        "recheck-early file-operator/ours 2",
        "no-recheck-lock file-filelock-unlinks 6e",
        "trust-staged-marker dir-power-any 1",
    ),
    *_without(
        "push",
        "reg AAB.stop1 1",
        "again ABleft.late1.stop1.rel-any 1",
        "abort ABleft.late2.stop1 1",
        "commit AB.late1.lost.rel 1",
        "swap AB.late1.lost.rel 6",
        "tomb AB.late1.stop1 6",
        "ownpid bump.a.q.q 4",
        "pid2 bump.a.q.q 4",
    ),
    *_without("push", "order ABleft.late1.stop1.rel-any 8", part="sweep"),
    *_without(
        "partial",
        "two-growers growers 3",
        "no-hold hit-full 4",
        "receipt-first growers 1",
        "no-sync-between power-force 1",
        "receipt-in-place power-growers-any 3",
        "replace-shared force 2",
        "hit-no-sync power-hit-any 3",
        "retire-first growers-full 3",
        "retire-no-ex full 2",
        "evict-no-ex evict 2",
        "evict-in-place evict 1",
        "evict-no-sync power-evict-any 1",
        "trash-no-sync power-evict-any 1",
        "no-fsync power-force 1",
        "tidy-no-ex tidy-growers 1",
    ),
)
