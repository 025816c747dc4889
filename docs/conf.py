"""How Sphinx builds the documentation: ``sphinx-build -W -b html docs docs/_build``."""

from __future__ import annotations

import opentps_brimstone

project = "opentps-brimstone"
author = "the opentps-brimstone developers"
project_copyright = author
version = release = opentps_brimstone.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
language = "en"

html_theme = "furo"
html_title = f"{project} {release}"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "amsmath"]
myst_heading_anchors = 3

# A name in single backticks of a docstring is a link where there is such an object, and code elsewhere.
default_role = "py:obj"
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_class_signature = "mixed"
