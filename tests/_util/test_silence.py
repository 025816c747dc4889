from __future__ import annotations

import logging
import sys

from opentps_brimstone._util.silence import silent_opentps


def test_opentps_prints_nothing_and_leaves_logging_alone(capsys):
    root, opentps = logging.getLogger(), logging.getLogger("opentps")
    before = (root.handlers[:], root.level, opentps.level)
    with silent_opentps():
        print("printed by OpenTPS")
        root.addHandler(logging.StreamHandler(sys.stdout))
        root.setLevel(logging.DEBUG)
        logging.getLogger("opentps.core").error("logged by OpenTPS")
    assert (root.handlers, root.level, opentps.level) == before
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
