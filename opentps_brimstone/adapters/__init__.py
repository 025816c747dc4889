"""Between OpenTPS's data classes and this package's, in both directions.

Lengths are mm, doses Gy over all fractions, weights MU per fraction. Only these modules, ``engine``,
``opentps_method``, ``gui`` and ``dicom`` know OpenTPS, and they import it when a function is called.
"""
