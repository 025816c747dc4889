"""Errors as a person in front of a window meets them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from PyQt5.QtWidgets import QMessageBox, QWidget

__all__ = ["shows_errors", "tell"]

_log = logging.getLogger(__name__)


def tell(parent: QWidget | None, title: str, error: BaseException | str) -> None:
    """Show what went wrong, until it is clicked away.

    Parameters
    ----------
    parent : QWidget or None
    title : str
        What could not be done.
    error : BaseException or str
    """
    if isinstance(error, BaseException):
        _log.error("%s: %s", title, error, exc_info=error)
        known = isinstance(error, ValueError | TypeError | RuntimeError | OSError | KeyError)
        text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        text = text if known and text else f"{type(error).__name__}: {text}"
    else:
        text = error
    box = QMessageBox(QMessageBox.Warning, title, f"<b>{title}</b>", QMessageBox.Ok, parent)
    box.setInformativeText(text)
    box.exec_()


def shows_errors(title: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a method of a widget show its errors, which Qt would print on the terminal only.

    Parameters
    ----------
    title : str
        What could not be done.

    Returns
    -------
    callable
        A decorator.
    """

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def guarded(self: Any, *args: Any, **options: Any) -> Any:
            try:
                return method(self, *args, **options)
            except Exception as error:  # whatever it is, the user has to see it
                tell(self if isinstance(self, QWidget) else None, title, error)
                return None

        return guarded

    return decorate
