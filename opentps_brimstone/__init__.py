"""Brimstone inverse planning for OpenTPS photon plans.

Beamlet weights are found by making the dose-volume histogram of each structure match a prescribed one::

    import opentps_brimstone as pb

    series = pb.Series.from_dicom("patient")
    plan = pb.Plan(series, number_of_fractions=25)
    for gantry_angle in range(0, 360, 40):
        plan.add_beam(gantry_angle)
    optimizer = pb.PlanOptimizer(plan)
    optimizer.add_objective(series.structures["PTV"], pb.KLDivergenceTerm(dose_range=(50, 53)))
    optimizer.add_objective(series.structures["Cord"], pb.KLDivergenceTerm(dose_range=(0, 30), weight=0.5))
    result = optimizer.optimize()

What belongs together is also reachable as a namespace, such as `pb.evaluation`, `pb.sequencing` or `pb.phantoms`.
Lengths are mm, doses Gy over all fractions, weights MU per fraction, angles degrees after IEC 61217; arrays are indexed
[x, y, z]. What the package says while it works goes to the logger ``opentps_brimstone``.

Research software, not a medical device.
"""

import logging

import lazy_loader

__version__ = "0.2.0"

# The public names stand once, in __init__.pyi. Each is loaded when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

logging.getLogger(__name__).addHandler(logging.NullHandler())
