"""Lines of the keys of a TOML text, which `tomllib` does not tell."""

from __future__ import annotations

import tomllib
from typing import Any

__all__ = ["KeyPath", "key_lines"]

KeyPath = tuple[str | int, ...]
"""Names of tables and keys, and indices of array items."""

_BLANK = " \t"
_SPACE = " \t\r\n"
_ENDS_SCALAR = " \t\r\n,]}#"


def key_lines(text: str) -> dict[KeyPath, int]:
    r"""Find the line of every table, key and item of a TOML text.

    Parameters
    ----------
    text : str
        Accepted by `tomllib`.

    Returns
    -------
    dict of tuple to int
        Line, from 1, by path: of a table, where it is first named; of a key, where it stands; of an array item, where
        its value begins.

    Examples
    --------
    >>> lines = key_lines("a = 1\n[[b]]\nc = [\n  2,\n  3]\n[[b]]\n")
    >>> lines["a",], lines["b", 0, "c"], lines["b", 0, "c", 1], lines["b", 1]
    (1, 3, 5, 6)
    """
    return _Walk(text).lines


class _Walk:
    """A walk through a text known to be valid, so that nothing needs to be checked."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted_to = 0
        self._line = 1
        self._items: dict[KeyPath, int] = {}  # how many items arrays of tables have so far
        self.lines: dict[KeyPath, int] = {}
        table: KeyPath = ()
        while self._skip(_SPACE, comments=True):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._assignment(table)

    # ---------------------------------------------------------------------------------------------- places in the text

    def _skip(self, characters: str, *, comments: bool = False) -> bool:
        """Go past some characters, and tell whether anything follows."""
        text = self._text
        while self._at < len(text):
            if text[self._at] in characters:
                self._at += 1
            elif comments and text[self._at] == "#":
                self._at = _position(text, "\n", self._at)
            else:
                return True
        return False

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line

    def _note(self, path: KeyPath, line: int) -> None:
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], line)

    # ---------------------------------------------------------------------------------------------- tables and keys

    def _header(self) -> KeyPath:
        line = self._here()
        of_array = self._text.startswith("[[", self._at)
        self._at += 2 if of_array else 1
        names = self._key("]")
        self._at += 2 if of_array else 1
        path: KeyPath = ()
        for name in names[:-1]:
            path = self._in_last_item((*path, name))
        path = (*path, names[-1])
        if of_array:
            self._items[path] = self._items.get(path, 0) + 1
        path = self._in_last_item(path)
        self._note(path, line)
        return path

    def _in_last_item(self, path: KeyPath) -> KeyPath:
        return (*path, self._items[path] - 1) if path in self._items else path

    def _assignment(self, table: KeyPath) -> None:
        line = self._here()
        path = (*table, *self._key("="))
        self._note(path, line)
        self._at += 1
        self._skip(_BLANK)
        self._value(path)

    def _key(self, end: str) -> list[str]:
        """Parts of a dotted key, split by `tomllib`."""
        start = self._at
        while self._text[self._at] != end:
            if self._text[self._at] in "\"'":
                self._string()
            else:
                self._at += 1
        inner: Any = tomllib.loads(self._text[start : self._at] + "= 0")
        names: list[str] = []
        while isinstance(inner, dict):
            ((name, inner),) = inner.items()
            names.append(name)
        return names

    # ---------------------------------------------------------------------------------------------- values

    def _value(self, path: KeyPath) -> None:
        first = self._text[self._at]
        if first in "\"'":
            self._string()
        elif first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._scalar()

    def _string(self) -> None:
        quote = self._text[self._at]
        several = self._text.startswith(quote * 3, self._at)
        mark = quote * 3 if several else quote
        self._at += len(mark)
        while not self._text.startswith(mark, self._at):
            self._at += 2 if quote == '"' and self._text[self._at] == "\\" else 1
        self._at += len(mark)
        # Up to two quotes may stand before the three that end a string.
        while several and self._text.startswith(quote, self._at):
            self._at += 1

    def _scalar(self) -> None:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] not in _ENDS_SCALAR:
            self._at += 1
        # A date and a time may stand apart.
        is_date = self._text[start : self._at].count("-") == 2 and self._at - start == len("2000-01-01")
        if is_date and self._text[self._at : self._at + 1] == " " and self._text[self._at + 1 : self._at + 2].isdigit():
            self._at += 1
            self._scalar()

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        number = 0
        while self._skip(_SPACE + ",", comments=True) and self._text[self._at] != "]":
            self._note((*path, number), self._here())
            self._value((*path, number))
            number += 1
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while self._skip(_SPACE + ",") and self._text[self._at] != "}":
            self._assignment(path)
        self._at += 1


def _position(text: str, what: str, start: int) -> int:
    found = text.find(what, start)
    return len(text) if found < 0 else found
