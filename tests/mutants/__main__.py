"""`python -m tests.mutants`, or `... lua [script or shared/block...]`, or `... python [group...]`.

Puts faults into the scripts, or the modules that judge proofs, one by one, and sees that tests notice each. Prints
every mutant that no test noticed. Exit code 1 if one of them has no reason in reasons.txt.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from redis import Redis
from redis.exceptions import ResponseError

from rig import servers
from tests.mutants import judging, lua, python, running
from waitroom.store import scripts


def main() -> int:
    """Run the mutants that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("kind", nargs="?", choices=["lua", "python"], help="both if it is not given")
    parser.add_argument("names", nargs="*", help="scripts and blocks, or groups of modules; all if none are given")
    parser.add_argument("--excused", action="store_true", help="lua: run also those that have a reason to survive")
    parser.add_argument("--like", default="", help="lua: only mutants whose key contains this")
    parser.add_argument("--every", type=int, default=1, help="lua: only every n-th mutant")
    given = parser.parse_args()
    ends = []
    if given.kind != "python":
        ends.append(run_lua(given.names or lua.files(), like=given.like, every=given.every, excused=given.excused))
    if given.kind != "lua":
        ends.append(run_python(given.names or list(python.GROUPS)))
    faults = [fault for made, survivors in ends for fault in judging.judge(made=made, survivors=survivors)]
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


def run_python(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The groups of modules: what was made, and what survived."""
    made, survivors = list[str](), list[str]()
    for name in names:
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            judged = python.run(python.GROUPS[name], Path(folder))
        survived = [key for key, one in judged.items() if not one.noticed]
        for key in survived:
            print(f"survived  {key} (exit code {judged[key].exit_code})")
        print(f"{name}: {len(judged) - len(survived)} of {len(judged)} mutants noticed", flush=True)
        made += judged
        survivors += survived
    return made, survivors


def run_lua(names: Sequence[str], *, like: str, every: int, excused: bool) -> tuple[list[str], list[str]]:
    """The scripts and their blocks: what was made, and what survived."""
    if running.is_noticed(names[0], scripts.source(names[0])):
        sys.exit("the tests fail without any fault: nothing can be said of mutants")
    spared = {} if excused else judging.excused()
    made, survivors = list[str](), list[str]()
    for name in names:
        mutants = list(programs(name))
        made += [mutant.key for mutant in mutants]
        chosen = [mutant for mutant in mutants[::every] if like in mutant.key and mutant.key not in spared]
        noticed = 0
        for mutant in chosen:
            if running.is_noticed(name, mutant.text):
                noticed += 1
            else:
                survivors.append(mutant.key)
                print(f"survived  {mutant.key}", flush=True)
        print(f"{name}: {noticed} of {len(chosen)} mutants noticed, {len(mutants)} made", flush=True)
    return made, survivors


def programs(name: str) -> Iterator[lua.Mutant]:
    """The mutants of a script or block that a server takes for scripts."""
    with servers.running() as url, Redis.from_url(url) as client:
        for mutant in lua.of(name, scripts.source(name)):
            try:
                client.script_load(lua.whole(name, mutant.text))
            except ResponseError:
                continue
            yield mutant


if __name__ == "__main__":
    sys.exit(main())
