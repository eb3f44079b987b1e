"""Does with the real modelkit what it is told, one JSON object a line, until its input ends.

Runs in modelkit's own environment (`make modelkit`), where nothing of assetd is installed; tests
use it through `modelkit` beside it. Each order has `variables`, modelkit's whole configuration, and
may have the `folder` that modelkit works in and `now`, what its clock says.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import click


def obey(order: dict[str, Any]) -> Any:
    """Does one thing and returns modelkit's answer."""
    # Late: modelkit logs as soon as it is imported.
    from modelkit.assets import cli  # type: ignore[import-not-found]
    from modelkit.assets.manager import AssetsManager  # type: ignore[import-not-found]
    from modelkit.assets.remote import StorageProvider  # type: ignore[import-not-found]
    from modelkit.assets.versioning import simple_date  # type: ignore[import-not-found]

    if "folder" in order:
        os.chdir(order["folder"])
    if "now" in order:
        # It has no other seam for its clock.
        simple_date._utcnow = lambda: order["now"]  # noqa: SLF001
    match order["do"]:
        case "fetch":
            manager = AssetsManager(assets_dir=order["assets_dir"])
            force = True if order["force"] else None
            return manager.fetch_asset(order["spec"], return_info=True, force_download=force)
        case "versions":
            return StorageProvider().get_versions_info(order["name"])
        case "command new":
            return cli.new_(order["path"], order["spec"], None, False)
        case "command update":
            return cli.update_(order["path"], order["spec"], None, order["bump_major"], False)
        case _:
            return put(StorageProvider(), order)


def put(provider: Any, order: dict[str, Any]) -> None:
    """Puts one version, or a part of one, into the store."""
    path, name, version = order["path"], order["name"], order["version"]
    match order["do"]:
        case "new":
            provider.new(path, name, version)
        case "update":
            provider.update(path, name, version)
        case "update slowly":
            push = provider.push

            def push_slowly(*what: Any, **how: Any) -> None:
                push(*what, **how)
                # Opens as soon as somebody writes to it, and ends when they close it.
                Path(order["until"]).read_bytes()

            provider.push = push_slowly
            provider.update(path, name, version)
        case "put part":
            key = provider.get_object_name(name, version)
            provider.driver.upload_object(path, f"{key}/{order['part']}")


def main() -> None:
    """Obey until there are no more orders; what modelkit raises is an answer too."""
    # modelkit logs to standard output, which is for answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    inherited = dict(os.environ)
    # modelkit's commands ask whether they may: whoever gives an order has said so.
    click.prompt = lambda _: "y"  # type: ignore[assignment]
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
