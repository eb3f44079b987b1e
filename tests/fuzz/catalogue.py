"""All targets by their names."""

from collections.abc import Mapping
from pathlib import Path

from tests.fuzz.documents import document_targets
from tests.fuzz.own_files import own_file_targets
from tests.fuzz.places import Watch, World
from tests.fuzz.requests import request_target
from tests.fuzz.target import Target
from tests.fuzz.texts import text_targets

# The names, for whoever runs targets in processes of their own; these first: anybody can write what
# they read.
FIRST_NAMES = ("spec", "name", "version", "part", "manifest", "index", "token")
NAMES = (
    *FIRST_NAMES,
    *("parts", "fast-path", "prefix", "request", "claim", "receipt", "client-receipt", "journal"),
    *("partial", "pin", "use-order", "push-record"),
)


def targets_in(folder: Path, world: World, watch: Watch) -> Mapping[str, Target]:
    """Return the targets; `folder` is theirs, and they look into the `world`."""
    found = [
        *text_targets(world, watch),
        *document_targets(folder),
        *own_file_targets(folder),
        request_target(),
    ]
    targets = {target.name: target for target in found}
    assert set(targets) == set(NAMES)
    return targets
