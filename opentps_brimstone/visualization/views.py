"""Display of a figure that changes: in a window, in a notebook, or nowhere."""

from __future__ import annotations

import io
import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["NotebookView", "View", "WindowView", "open_view"]


class View(Protocol):
    """A figure on display."""

    figure: Figure

    def refresh(self, status: str) -> None:
        """Show what was drawn.

        Parameters
        ----------
        status : str
            One line of text.
        """


def open_view(size_inches: tuple[float, float]) -> View | None:
    """Show an empty figure in the notebook that runs the program, or in a window.

    There is none if matplotlib's backend has no windows, or outside the main thread, where windows must not be used.
    """
    if _in_notebook():
        return NotebookView(size_inches)
    if threading.current_thread() is not threading.main_thread():
        return None
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=size_inches, layout="constrained")
    if figure.canvas.required_interactive_framework is None:
        pyplot.close(figure)
        return None
    return WindowView(figure)


def _in_notebook() -> bool:
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


class WindowView:
    """A window of matplotlib's backend for a figure of pyplot; drawing stops when it is closed."""

    def __init__(self, figure: Figure) -> None:
        from matplotlib import pyplot

        self.figure = figure
        pyplot.show(block=False)

    def refresh(self, status: str) -> None:
        """Draw, and let the window process its events."""
        from matplotlib import pyplot

        if not pyplot.fignum_exists(self.figure.number):
            return
        manager: Any = self.figure.canvas.manager
        manager.set_window_title(status)
        self.figure.canvas.draw_idle()
        self.figure.canvas.flush_events()


class NotebookView:
    """An image in a notebook's cell: a widget if ipywidgets is installed, otherwise a display that is replaced."""

    def __init__(self, size_inches: tuple[float, float]) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=size_inches, layout="constrained")
        FigureCanvasAgg(self.figure)
        self._widgets = _widgets()
        self._display: Any = None

    def refresh(self, status: str) -> None:
        """Replace the image."""
        file = io.BytesIO()
        self.figure.savefig(file, format="png", dpi=80)
        if self._widgets is not None:
            line, image = self._widgets
            line.value, image.value = status, file.getvalue()
            return
        from IPython.display import Image, display

        shown = Image(data=file.getvalue(), format="png", alt=status)
        if self._display is None:
            self._display = display(shown, display_id=True)
        else:
            self._display.update(shown)


def _widgets() -> tuple[Any, Any] | None:
    """Put a line of text and an image into the cell; None without ipywidgets."""
    try:
        import ipywidgets
    except ImportError:
        return None
    from IPython.display import display

    line, image = ipywidgets.Label(), ipywidgets.Image(format="png")
    display(ipywidgets.VBox([line, image]))
    return line, image
