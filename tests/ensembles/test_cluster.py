from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import ensemble_case
import numpy as np
import pytest
from ensemble_case import Failing, ensemble_plan, objectives, one_after_another, variants

from opentps_brimstone.ensembles import run_ensemble

distributed = pytest.importorskip("distributed")

PLAN = ensemble_plan()
HELPERS = str(Path(ensemble_case.__file__).parent)


@pytest.fixture(scope="module")
def client():
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = HELPERS
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as made,
    ):
        yield made
    if path is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = path


def same(results, asked):
    pairs = zip(results, one_after_another(PLAN, asked), strict=True)
    return [np.array_equal(each.beamlet_weights, weights) for each, weights in pairs]


def test_a_local_cluster_gives_bitwise_the_same(client):
    asked = variants(6)
    failing = {"objectives": objectives(1.0, ("organ", Failing()))}
    seen = []
    results = run_ensemble(PLAN, [*asked, failing], client, callback=seen.append, progress=False)
    assert all(same(results[:6], asked))
    assert [each.number for each in results.failed] == [6] and "no value today" in results[6].error
    assert len(seen) == 7


def test_hosts_that_do_not_see_the_files_get_them_once(client, monkeypatch, tmp_path):
    from opentps_brimstone.ensembles import cluster

    sent = []
    send = cluster.ClusterPool._send_file
    # Workers look for another folder than this process has written.
    elsewhere = tmp_path / uuid.uuid4().hex

    def renamed(self, folder, name, worker):
        sent.append((name, worker))
        return send(self, folder, name, worker)

    monkeypatch.setattr(cluster.ClusterPool, "_send_file", renamed)
    monkeypatch.setattr(cluster, "_BYTES_AT_ONCE", 100_000)
    hidden = client.run(_hide_folders)
    assert all(hidden.values())
    try:
        asked = variants(4)
        results = run_ensemble(PLAN, asked, client, folder=elsewhere, progress=False)
    finally:
        client.run(_show_folders)
    assert all(same(results, asked))
    names = [name for name, _ in sent]
    assert len(names) == len(set(names)) and any(name.endswith("dose-data.npy") for name in names)


def _hide_folders():
    from opentps_brimstone.ensembles import cluster

    cluster._there, cluster._here = cluster._here, cluster._copy_of
    return True


def _show_folders():
    from opentps_brimstone.ensembles import cluster

    cluster._here = cluster._there


def test_what_is_not_a_client_is_refused():
    with pytest.raises(TypeError, match=r"client is int; it must be a dask\.distributed\.Client, or None"):
        run_ensemble(PLAN, variants(1), 3)


# ------------------------------------------------------------------------------------------------- network namespaces


NAMES = ("scheduler", "worker-a", "worker-b")


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=check, capture_output=True, text=True)


@pytest.fixture
def namespaces():
    """Three network namespaces on a bridge, which this process does not share: 10.77.0.1 to .3."""
    if shutil.which("ip") is None:
        pytest.skip("needs the program ip")
    tag = f"br{os.getpid() % 100000}"
    if _run("ip", "netns", "add", f"{tag}-{NAMES[0]}", check=False).returncode:
        pytest.skip("needs the right to make network namespaces")
    made = [f"{tag}-{NAMES[0]}"]
    try:
        if _run("ip", "link", "add", tag, "type", "bridge", check=False).returncode:
            pytest.skip("needs the right to make network links")
        _run("ip", "addr", "add", "10.77.0.254/24", "dev", tag)
        _run("ip", "link", "set", tag, "up")
        for number, name in enumerate(NAMES, start=1):
            space = f"{tag}-{name}"
            if space not in made:
                _run("ip", "netns", "add", space)
                made.append(space)
            outside, inside = f"{tag}o{number}", f"{tag}i{number}"
            _run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", space)
            _run("ip", "link", "set", outside, "master", tag, "up")
            _run("ip", "-n", space, "addr", "add", f"10.77.0.{number}/24", "dev", inside)
            _run("ip", "-n", space, "link", "set", inside, "up")
            _run("ip", "-n", space, "link", "set", "lo", "up")
        yield made
    finally:
        for space in made:
            _run("ip", "netns", "del", space, check=False)
        _run("ip", "link", "del", tag, check=False)


@pytest.mark.slow
def test_the_same_runs_on_workers_in_network_namespaces(namespaces, tmp_path):
    environment = {**os.environ, "PYTHONPATH": HELPERS}
    programs = [
        [namespaces[0], "scheduler", "--host", "10.77.0.1", "--port", "8786", "--no-dashboard"],
        [namespaces[1], "worker", "tcp://10.77.0.1:8786", "--nthreads", "1", "--no-dashboard", "--host", "10.77.0.2"],
        [namespaces[2], "worker", "tcp://10.77.0.1:8786", "--nthreads", "1", "--no-dashboard", "--host", "10.77.0.3"],
    ]
    started = []
    try:
        for space, *arguments in programs:
            command = ["ip", "netns", "exec", space, sys.executable, "-m", "distributed.cli.dask_" + arguments[0]]
            with (tmp_path / f"{len(started)}.log").open("w") as log:
                started.append(
                    subprocess.Popen(
                        command + arguments[1:],
                        env=environment,
                        cwd=tmp_path,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
        with distributed.Client("tcp://10.77.0.1:8786", timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
            assert {address.split("//")[1].split(":")[0] for address in client.scheduler_info()["workers"]} == {
                "10.77.0.2",
                "10.77.0.3",
            }
            asked = variants(6)
            results = run_ensemble(PLAN, asked, client, progress=False)
        assert all(same(results, asked))
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGTERM)
        until = time.monotonic() + 10
        for process in started:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
