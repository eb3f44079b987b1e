"""Daemons, and the real model."""

from tests.support.daemon import daemons
from tests.support.model import real_model

__all__ = ["daemons", "real_model"]
