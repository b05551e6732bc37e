"""How many wrong gradients are noticed, of every op; the table goes into benchmarks/README.md.

    python -m tests.minigrad.testing.mutants

Each gradient formula in the registry is broken in every way that `minigrad.testing.breaking.KINDS` lists, one at a
time. A mutant is killed when `check_grads` raises a GradientError at one of two hundred points that Hypothesis draws.
"""

import sys
from collections import Counter

from hypothesis import HealthCheck, Phase, given, settings
from tqdm import tqdm

from benchmarks.report import keep
from minigrad.methods import functions
from minigrad.registry import OPS
from minigrad.testing import GradientError, NothingBroken, break_gradient, check_grads
from minigrad.testing.breaking import KINDS, Mutant, mutants, why_left_out
from minigrad.testing.strategies import Call, op_calls

POINTS, FEW = 200, 10  # where it is killed; where nothing can be broken
SEARCH = settings(
    phases=[Phase.generate], derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


def fate(mutant: Mutant) -> str:
    """What becomes of a mutant: "killed", "alive", or "left out" where there was nothing to break at any point."""
    name, broken = mutant.op, 0

    @settings(SEARCH, max_examples=FEW if why_left_out(mutant) else POINTS)
    @given(op_calls(OPS[name]))
    def prove(call: Call) -> None:
        nonlocal broken
        try:
            with break_gradient(f"{name}.{mutant.operand}", mutant.kind):
                check_grads(lambda *xs: call.of(functions[name], *xs), *call.operands(), order=1)
        except NothingBroken:
            return
        broken += 1

    try:
        prove()
    except GradientError:
        return "killed"
    return "alive" if broken else "left out"


def table(fates: dict[Mutant, str]) -> str:
    """For each kind how many mutants there are, were killed, and are left out since they change nothing."""
    counts = {kind: Counter(found for mutant, found in fates.items() if mutant.kind == kind) for kind in KINDS}
    counts["all"] = Counter(fates.values())
    lines = ["| a gradient that is | mutants | killed | alive | left out |", "|---|---|---|---|---|"]
    for kind, found in counts.items():
        made = found["killed"] + found["alive"]
        lines.append(f"| {kind} | {made} | {found['killed']} | {found['alive']} | {found['left out']} |")
    why = Counter(why_left_out(mutant) for mutant, found in fates.items() if found == "left out")
    return "\n".join([*lines, "", "Left out:", "", *[f"- {count}: {reason}" for reason, count in why.items()]])


def main() -> None:
    """Print the table and keep it; fail where a mutant is alive, or wrongly left out or not."""
    fates = {mutant: fate(mutant) for mutant in tqdm(mutants(), "mutants", leave=False)}
    print(table(fates))
    keep("make mutants", table(fates))
    wrong = [f"{m} is {found}" for m, found in fates.items() if found != ("left out" if why_left_out(m) else "killed")]
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
