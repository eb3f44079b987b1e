"""Reads variables one by one, and collects what is wrong with them. Knows no variable by name."""

import re
from collections.abc import Mapping
from typing import Final, TypeVar

from assetd_server.variables import Variable

T = TypeVar("T")

_CREDENTIALS: Final = re.compile(r"//[^/?#]*@")


class Reader:
    """Reads variables, and collects what is wrong with them."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts
        self.faults: list[str] = []
        self.warnings: list[str] = []

    def text(self, variable: Variable[T]) -> str:
        """Return what is set; empty where nothing is."""
        return self.texts.get(variable.name, "")

    def value(self, variable: Variable[T]) -> T:
        """Return the value that is set, else the default; the default also after a fault."""
        if text := self.text(variable):
            try:
                return variable.parse(text)
            except ValueError as wrong:
                self.fault(variable, wrong)
        return variable.parse(variable.default)

    def fault(self, variable: Variable[T], wrong: object) -> None:
        """Note that the text of a variable `wrong`, as in "is no size: ...".

        The daemon will not start, but the others are still to be read.
        """
        self.faults.append(f"{self.shown(variable)} {wrong}")

    def shown(self, variable: Variable[T]) -> str:
        """Return name and text for people, without the credentials of a URL."""
        return f"{variable.name}={_CREDENTIALS.sub('//***@', self.text(variable))!r}"
