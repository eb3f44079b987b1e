"""Daemons of the tests' own."""

from tests.support.daemon import daemons

__all__ = ["daemons"]
