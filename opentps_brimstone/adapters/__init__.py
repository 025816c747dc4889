"""Conversion between OpenTPS's data classes and this package's, in both directions.

Lengths are mm, doses Gy over all fractions, weights MU per fraction. What differs between versions of OpenTPS is in
`versions`, access to its private attributes in `privates`. OpenTPS is imported when a function is called.
"""
