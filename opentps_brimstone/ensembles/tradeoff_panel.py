"""A panel for notebooks: sliders bound the criteria, and DVHs of the mixture within them follow."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone import visualization

if TYPE_CHECKING:
    from opentps_brimstone.ensembles.tradeoff import MixedPlan, Tradeoff

__all__ = ["TradeoffPanel"]

_STEPS = 100


class TradeoffPanel:
    """Sliders for the bounds, a line of values, and the DVHs of the mixture within the bounds; shown by notebooks.

    Parameters
    ----------
    tradeoff : Tradeoff

    Attributes
    ----------
    widget : ipywidgets.VBox
    mixed : MixedPlan
        Within the sliders' bounds; its beamlet weights are those of the plan to keep.

    Raises
    ------
    ImportError
        Without ipywidgets.

    Examples
    --------
    >>> from opentps_brimstone.ensembles.example import three_voxel_tradeoff
    >>> panel = TradeoffPanel(three_voxel_tradeoff())
    >>> panel.widget.children[0].description, panel.mixed.exceeded
    ('PTV Dmin ≥', {})
    """

    def __init__(self, tradeoff: Tradeoff) -> None:
        try:
            import ipywidgets
        except ImportError:
            raise ImportError("the panel needs ipywidgets: pip install opentps-brimstone[notebook]") from None
        self.tradeoff = tradeoff
        self._sliders = [self._slider(ipywidgets, k) for k in range(len(tradeoff.criteria))]
        self._line = ipywidgets.HTML()
        self._image = ipywidgets.Image(format="png")
        self.mixed: MixedPlan = self._update()
        for slider in self._sliders:
            slider.observe(lambda _: self._update(), names="value")
        self.widget: Any = ipywidgets.VBox([*self._sliders, self._line, self._image])

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.widget)

    def _slider(self, ipywidgets: Any, k: int) -> Any:
        """Make a slider that starts where it bounds nothing."""
        criterion, values = self.tradeoff.criteria[k], self.tradeoff.values[:, k]
        low, high = float(values.min()), float(values.max())
        high = max(high, low + 1e-6)
        return ipywidgets.FloatSlider(
            value=high if criterion.sign > 0 else low,
            min=low,
            max=high,
            step=(high - low) / _STEPS,
            description=f"{criterion.name} {'≤' if criterion.sign > 0 else '≥'}",
            style={"description_width": "initial"},
            layout={"width": "560px"},
            continuous_update=True,
        )

    def _update(self) -> MixedPlan:
        names = [criterion.name for criterion in self.tradeoff.criteria]
        bounds = {name: slider.value for name, slider in zip(names, self._sliders, strict=True)}
        self.mixed = self.tradeoff.navigate(bounds)
        told = ", ".join(f"{name} {value:.2f}" for name, value in self.mixed.values.items())
        beyond = ", ".join(f"{name} by {amount:.2f}" for name, amount in self.mixed.exceeded.items())
        self._line.value = told + (f" <b>no mixture keeps: {beyond}</b>" if beyond else "")
        self._image.value = self._dvhs()
        return self.mixed

    def _dvhs(self) -> bytes:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.5, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        plan = self.tradeoff.plan
        shown = [structure for structure in plan.structures if structure.is_on_grid]
        visualization.plot_dvh(np.asarray(self.mixed.dose), shown, ax=figure.subplots())
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=80)
        return file.getvalue()
