"""What the client takes from the environment, and nothing else does.

Kubernetes puts variables such as `ASSETD_PORT` into every container that stands beside a service
called assetd: of all names that begin like ours, only `ASSETD_ADDRESS` is read.
"""

# A library has no other place to learn where its daemon and its node's directory are.
import os


def read(name: str) -> str | None:
    """Return the variable; None where it is not set, or empty."""
    return os.environ.get(name) or None  # noqa: TID251


def assets_dir() -> str | None:
    """Return the directory that this process knows the node's versions in, if it knows one.

    The names are the daemon's own; which of the two wins is as there.
    """
    return read("ASSETS_DIR") or read("MODELKIT_ASSETS_DIR")
