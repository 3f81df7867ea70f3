"""Everything that can go wrong with a trial, done to real trials in real places: what must come of it, and what did.

    python benchmarks/faults.py                              # all of it, a quarter of an hour
    python benchmarks/faults.py --places standalone --only driver --only children
    python benchmarks/faults.py --write                      # and put the table into docs/reliability.md

The scenarios are those of ``tests/spark/scenarios.py``, some of which the tests play, too. Each place has a process of
its own here. What was observed is kept in ``build/faults.json``, so that places can be run one by one.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "spark"))

from _page import write_section  # noqa: E402
from clusters import PLACES, open_cluster, open_place  # noqa: E402
from scenarios import DRIVER_FAULTS, SCENARIOS, DriverFault, Scenario, play, play_driver  # noqa: E402

BEGIN, END = "<!-- begin: written by benchmarks/faults.py -->", "<!-- end: faults -->"

KEPT = ROOT / "build" / "faults.json"

#: Seconds for all scenarios of one place.
DEADLINE = 1200

AS_EXPECTED = "as expected"


def play_all(place_name: str, only: Sequence[str]) -> dict[str, str]:
    """What was observed in one place, by scenario."""
    observed: dict[str, str] = {}

    def note(fault: Scenario | DriverFault, result: object, seconds: float) -> None:
        verdict = AS_EXPECTED if str(result) == str(fault.expected) else f"**{result}**"
        observed[fault.name] = f"{verdict}, {seconds:.1f} s"
        print(f"{place_name}: {fault.name}: {observed[fault.name]}", flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = [item for item in SCENARIOS if place_name in item.places and is_chosen(item, only)]
        if chosen:
            with open_place(place_name, new_folder(folder)) as place:
                for scenario in chosen:
                    try:
                        result, seconds, _ = play(scenario, place, new_folder(folder))
                        note(scenario, result, seconds)
                    except Exception as error:  # observed as well, and the others are to be played all the same
                        traceback.print_exc()
                        note(scenario, f"the run ended with {type(error).__name__}: {error}", 0.0)
        faults = [fault for fault in DRIVER_FAULTS if place_name in fault.places and is_chosen(fault, only)]
        if faults:
            with open_cluster(place_name, new_folder(folder)) as (address, _):
                for fault in faults:
                    note(fault, *play_driver(fault, address, new_folder(folder)))
    return observed


def is_chosen(fault: Scenario | DriverFault, only: Sequence[str]) -> bool:
    """Whether the name of a fault contains one of the texts; all do if there are none."""
    return not only or any(text in fault.name for text in only)


def new_folder(parent: Path) -> Path:
    """An empty one."""
    return Path(tempfile.mkdtemp(dir=parent))


def play_in_process(place: str, only: Sequence[str]) -> dict[str, str]:
    """As :func:`play_all`, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "observed.json")
        command = [sys.executable, __file__, "--places", place, "--into", str(path)]
        for text in only:
            command += ["--only", text]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        with open(KEPT.with_name(f"faults-{place.partition('[')[0]}.log"), "wb") as log:
            subprocess.run(command, env=environment, stderr=log, timeout=DEADLINE, check=True)
        observed: dict[str, str] = json.loads(path.read_text())
        return observed


def table(observed: dict[str, dict[str, str]]) -> str:
    """One row for each fault, one column for each place."""
    places = [place for place in PLACES if place in observed]
    lines = [
        "| what happens | what must come of it | " + " | ".join(f"`{place}`" for place in places) + " |",
        "|---|---|" + "---|" * len(places),
    ]
    for fault in [*SCENARIOS, *DRIVER_FAULTS]:
        cells = [observed[place].get(fault.name, "–") for place in places]
        if set(cells) != {"–"}:
            cells = ["–" if place not in fault.places else cell for place, cell in zip(places, cells, strict=True)]
            lines.append(f"| {fault.name} | {fault.expected} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Play, print the table, and fail if anything was not as expected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", nargs="+", choices=PLACES, default=list(PLACES))
    parser.add_argument(
        "--only", action="append", default=[], help="a part of the name of what to play; may be repeated"
    )
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)  # where a process for one place leaves its results
    args = parser.parse_args()
    if args.into is not None:
        warnings.simplefilter("ignore")
        logging.getLogger("sparktune").setLevel(logging.ERROR)
        args.into.write_text(json.dumps(play_all(args.places[0], args.only)))
        return
    KEPT.parent.mkdir(exist_ok=True)
    observed = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for place in args.places:
        start = time.perf_counter()
        observed.setdefault(place, {}).update(play_in_process(place, args.only))
        KEPT.write_text(json.dumps(observed, indent=1))
        print(f"{place}: {time.perf_counter() - start:.0f} s", flush=True)
    text = table(observed)
    print(f"\n{text}\n")
    if args.write:
        write_section(BEGIN, END, text)
    if "**" in text:
        sys.exit("not everything was as expected")


if __name__ == "__main__":
    main()
