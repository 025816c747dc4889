"""Conversion of beam angles between OpenTPS and IEC 61217.

OpenTPS's dose engine starts from unit vectors along the image axes (x to the patient's left, y to the back,
z to the head) and turns them with ``CCCdoseEngineIO.getRotatedVersors``. Written for a patient lying head first
supine, where the IEC fixed axes are X_f = x, Y_f = z, Z_f = −y, a source at distance 1 from the isocenter sits at

    OpenTPS:   (−sin g cos c, −sin g sin c,  cos g)         g gantry, c couch as OpenTPS has them
    IEC 61217: ( sin θ cos ψ, −sin θ sin ψ,  cos θ)         θ gantry, ψ patient support

in axes fixed to the patient. They are the same for θ = −g and ψ = −c. The collimator turns the beam's eye axes
before the gantry does, from x_b toward y_b (counter-clockwise seen from the source) in both, so it is the same
angle. A wrong sign here treats the wrong side.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["BeamAngles", "iec_from_opentps", "opentps_from_iec"]


class BeamAngles(NamedTuple):
    """Gantry, couch (patient support) and collimator angle of a beam, degrees in [0, 360)."""

    gantry: float
    couch: float
    collimator: float


def _turn(name: str, angle: float, sense: int) -> float:
    if not math.isfinite(angle):
        raise ValueError(f"{name} angle must be a finite number of degrees, got {angle}")
    # The second remainder catches a tiny negative angle, which the first one rounds up to 360.
    return (sense * float(angle)) % 360.0 % 360.0


def _mirror(gantry: float, couch: float, collimator: float) -> BeamAngles:
    return BeamAngles(_turn("gantry", gantry, -1), _turn("couch", couch, -1), _turn("collimator", collimator, 1))


def opentps_from_iec(gantry: float, couch: float = 0.0, collimator: float = 0.0) -> BeamAngles:
    """Convert IEC 61217 angles to those of OpenTPS.

    Parameters
    ----------
    gantry, couch, collimator : float
        IEC angles in degrees; the couch angle is IEC's patient support angle.

    Returns
    -------
    BeamAngles
        OpenTPS's angles, degrees in [0, 360).

    Raises
    ------
    ValueError
        If an angle is not finite.

    Examples
    --------
    >>> opentps_from_iec(90.0)  # from the patient's left
    BeamAngles(gantry=270.0, couch=0.0, collimator=0.0)
    """
    return _mirror(gantry, couch, collimator)


def iec_from_opentps(gantry: float, couch: float = 0.0, collimator: float = 0.0) -> BeamAngles:
    """Convert the angles of an OpenTPS segment to IEC 61217: the inverse of `opentps_from_iec`, with its errors.

    Examples
    --------
    >>> iec_from_opentps(90.0, 10.0, 30.0)
    BeamAngles(gantry=270.0, couch=350.0, collimator=30.0)
    """
    return _mirror(gantry, couch, collimator)
