"""The program `assetd-server`: exit codes, and nothing else.

0 after a clean stop, 2 for a fault of the configuration, 8 where ASSETS_DIR or an address is not to
be had, 130 on Ctrl-C before the daemon served.
"""

import sys
from collections.abc import Mapping

from assetd_server.app import ConfigError, ListenError, StartError, serve
from assetd_server.errors import AssetError

EXIT_USAGE = 2
EXIT_PRECONDITION = 8
EXIT_INTERRUPTED = 130


def main(overrides: Mapping[str, str] | None = None) -> int:
    """Run the daemon and return the exit code; `overrides` win over the environment."""
    try:
        serve(overrides or {})
    except ConfigError as error:
        for fault in error.faults:
            print(f"assetd: {fault}", file=sys.stderr)  # noqa: T201 - the log is not set up yet
        return EXIT_USAGE
    except (AssetError, ListenError, StartError) as error:
        print(f"assetd: {error}", file=sys.stderr)  # noqa: T201 - for the person who starts it
        return EXIT_PRECONDITION
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
