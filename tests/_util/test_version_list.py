import platform

import numpy as np

from opentps_brimstone._util.versions import installed_versions


def test_packages_that_are_not_installed_are_left_out():
    found = dict(installed_versions(("numpy", "no-such-package-of-ours")))
    assert found == {"Python": platform.python_version(), "numpy": np.__version__}
