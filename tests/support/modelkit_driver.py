"""Does with the real modelkit what it is told, one JSON object a line, until its input ends.

Runs in modelkit's own environment (`make modelkit`), where nothing of assetd is installed; tests
use it through `modelkit` beside it. Each order has `variables`, modelkit's whole configuration.
"""

import json
import os
import sys
from typing import Any


def obey(order: dict[str, Any]) -> Any:
    """Does one thing and returns modelkit's answer."""
    # Late: modelkit logs as soon as it is imported.
    from modelkit.assets.manager import AssetsManager  # type: ignore[import-not-found]
    from modelkit.assets.remote import StorageProvider  # type: ignore[import-not-found]

    if order["do"] == "fetch":
        manager = AssetsManager(assets_dir=order["assets_dir"])
        return manager.fetch_asset(order["spec"], return_info=True)
    push = StorageProvider().new if order["do"] == "new" else StorageProvider().update
    push(order["path"], order["name"], order["version"])
    return None


def main() -> None:
    """Obey until there are no more orders; what modelkit raises is an answer too."""
    # modelkit logs to standard output, which is for answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    inherited = dict(os.environ)
    for line in sys.stdin:
        order = json.loads(line)
        os.environ.clear()
        os.environ.update(inherited | order["variables"])
        try:
            answer = {"value": obey(order)}
        except Exception as error:  # noqa: BLE001 - told to whoever gave the order
            answer = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(answer, default=str), file=answers, flush=True)


if __name__ == "__main__":
    main()
