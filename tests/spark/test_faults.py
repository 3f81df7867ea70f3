"""The fast part of the fault campaign; ``benchmarks/faults.py`` plays all of it, in all places, and writes a table."""

import os
import signal

import clusters
import pytest
import scenarios

pytestmark = [
    pytest.mark.spark,
    pytest.mark.skipif(
        not os.path.isdir("/proc/self"), reason="processes end with those that started them on Linux only"
    ),
]

LOCAL, CLUSTER = "local[2]", clusters.LOCAL_CLUSTER

#: Where each of these is played; the others are in the campaign alone, for they differ little or take long.
CHOSEN = {
    LOCAL: [
        "`os._exit(3)` at the first attempt only",
        "becomes another program (`exec`)",
        "kills its parent process, the guardian",
        "started children of all kinds, `trial_timeout`",
        "stops itself (SIGSTOP), `trial_timeout`",
        "a child process allocates, `trial_memory`",
        "started children of all kinds, cancelled",
        "`kill -9` of the Python worker with children",
        "`kill -9` of the evaluation's process when it is idle",
    ],
    CLUSTER: [
        "segmentation fault",
        "endless loop in C, `trial_timeout`",
        "ignores signals and exceptions, cancelled",
        "`kill -9` of the Python worker",
        "`kill -9` of the executor with children",
        "`kill -9` of pyspark's daemon",  # last, as in the campaign
    ],
}
PAIRS = [(place, name) for place, names in CHOSEN.items() for name in names]


@pytest.fixture(scope="module")
def place(request, tmp_path_factory):
    """A session in the place that the test names."""
    with clusters.open_place(request.param, tmp_path_factory.mktemp("place")) as place:
        yield place


@pytest.mark.parametrize(("place", "name"), PAIRS, indirect=["place"], scope="module")
def test_fault_costs_its_own_trial_at_most(place, name, tmp_path):
    """State, error, evaluations and attempts are the expected ones, no process is left, and all slots are usable."""
    scenario = scenarios.find(name)
    result, _, _ = scenarios.play(scenario, place, tmp_path)
    assert result == scenario.expected


@pytest.mark.parametrize("place", [CLUSTER], indirect=True, scope="module")
def test_document_tells_of_each_attempt(place, tmp_path):
    """The lost attempt and the good one are there, in order, with process, host, times, and why the first was lost."""
    _, _, trials = scenarios.play(scenarios.find("`os._exit(3)` at the first attempt only"), place, tmp_path)
    run = trials._dynamic_trials[0]["misc"]["run"]
    first, second = run["attempts"]
    assert "WorkerLostError" in first["error"]
    assert "exit code 3" in first["error"]
    assert "error" not in second
    assert first["pid"] != second["pid"]
    assert first["host"] == second["host"] == run["host"]
    assert first["start"] <= first["end"] <= second["start"] <= second["end"]
    assert second["queue_time"] >= 0


@pytest.mark.slow
@pytest.mark.parametrize("place", ["standalone"], indirect=True, scope="module")
@pytest.mark.parametrize("name", ["worker decommissioned (SIGPWR)", "`kill -9` of a whole machine"])
def test_cluster_that_loses_a_worker_goes_on(place, name, tmp_path):
    """A worker that is taken back finishes its trial; one that is cut off loses it to another, which evaluates it."""
    scenario = scenarios.find(name)
    result, _, _ = scenarios.play(scenario, place, tmp_path)
    assert result == scenario.expected


@pytest.mark.slow
def test_driver_that_is_killed_leaves_no_process_behind(tmp_path):
    """When the driver is killed, executors end, and with them what trials have started."""
    [fault] = [fault for fault in scenarios.DRIVER_FAULTS if fault.signal == signal.SIGKILL]
    observed, _ = scenarios.play_driver(fault, CLUSTER, tmp_path)
    assert observed == fault.expected
