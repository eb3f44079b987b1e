"""What an idle daemon may keep in staging: interrupted downloads, for whoever fetches them again.

Knows the daemon by its directories: no module of the service is imported here.
"""

import hashlib
import os
from pathlib import Path

JOURNALLED = {"data", "journal"}
# It is there already where all had come, and only the publishing was in the way.
SEALED = JOURNALLED | {"receipt"}


def kept_downloads(root: Path) -> list[str]:
    """Interrupted downloads below ASSETS_DIR, of versions that do not stand; below `.assetd`."""
    folders = [path for path in (root / ".assetd/staging").glob("*") if path.is_dir()]
    # Walked without following links: a test may have planted one that leads to everything.
    standing = {
        os.path.relpath(os.path.join(folder, name), root)  # noqa: PTH118 - thousands of names
        for folder, below, files in os.walk(root)
        for name in (*below, *files)
    }
    keys = {hashlib.sha256(path.encode()).hexdigest()[:32] for path in standing}
    return sorted(
        f"staging/{folder.name}"
        for folder in folders
        if {path.name for path in folder.iterdir()} in (JOURNALLED, SEALED)
        and folder.name not in keys
    )
