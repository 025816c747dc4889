"""Processes forked from one whose threads work."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading

import numpy as np
import pytest
from pencil_plans import pencil_optimizer

import opentps_brimstone as pb

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def optimized(threads):
    return pencil_optimizer(settings=pb.OptimizerSettings(threads=threads)).optimize().beamlet_weights


def _exit_zero_if_same(threads, expected):
    sys.exit(0 if np.array_equal(optimized(threads), expected) else 3)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_plans_with_threads_of_its_own():
    expected = optimized(8)  # seven helpers exist from now on, which the children do not have
    ended = threading.Event()

    def keep_busy():
        while not ended.is_set():
            optimized(2)

    background = threading.Thread(target=keep_busy, daemon=True)
    background.start()
    try:
        for threads in (1, 2, 4):
            child = multiprocessing.get_context("fork").Process(target=_exit_zero_if_same, args=(threads, expected))
            child.start()
            child.join(120)
            hangs = child.exitcode is None
            if hangs:
                child.kill()
                child.join()
            assert not hangs
            assert child.exitcode == 0
    finally:
        ended.set()
        background.join()


def test_threads_plan_at_the_same_time():
    expected = optimized(1)
    found = [None] * 4

    def plan(number):
        found[number] = optimized(1 + number % 3)

    threads = [threading.Thread(target=plan, args=(number,)) for number in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for weights in found:
        np.testing.assert_array_equal(weights, expected)
