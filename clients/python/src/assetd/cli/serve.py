"""The command `assetd serve`: the only door from this distribution to the server's."""

import click

MISSING_SERVER = (
    "the server is not installed: `pip install 'assetd[server]'` brings it. "
    "To use a daemon that runs elsewhere on this node, name its --address instead."
)

SERVE_EXAMPLES = """\b
Examples:
  assetd serve --store file:///srv/models --assets-dir /var/cache/models
  ASSETS_DIR=/models ASSETD_STORE=s3://bucket/prefix assetd serve
"""


@click.command(epilog=SERVE_EXAMPLES)
@click.option(
    "--store",
    metavar="URL",
    help="The store: file:///dir or s3://bucket/prefix. Overrides ASSETD_STORE.",
)
@click.option("--assets-dir", metavar="DIR", help="The cache on this node. Overrides ASSETS_DIR.")
@click.option(
    "--listen",
    metavar="ADDRESS",
    help="Where to listen: unix:///path or a loopback host:port. Overrides ASSETD_LISTEN.",
)
def serve(store: str | None, assets_dir: str | None, listen: str | None) -> int:
    """Run the daemon of this node until it is told to stop.

    Prints one line on standard output when it is ready; its log goes to standard error. SIGTERM
    lets calls end before it stops. All further settings come from the environment.
    """
    try:
        from assetd_server.__main__ import main
    except ModuleNotFoundError as missing:
        # Anything else that is missing is a broken installation, which a hint would hide.
        if (missing.name or "").partition(".")[0] != "assetd_server":
            raise
        raise click.ClickException(MISSING_SERVER) from None
    overrides = {"ASSETD_STORE": store, "ASSETS_DIR": assets_dir, "ASSETD_LISTEN": listen}
    return main({name: value for name, value in overrides.items() if value is not None})
