"""How many wrong gradients are noticed: of every op, by `check_grads`, and of a few by other libraries' checkers.

    python -m benchmarks.mutants

Each gradient formula in the registry is broken in every way that `minigrad.testing.breaking.KINDS` lists, one at a
time. A mutant is killed when `check_grads` raises a GradientError at one of two hundred points that Hypothesis draws.
"""

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from tqdm import tqdm

from minigrad.methods import functions
from minigrad.registry import OPS
from minigrad.testing import GradientError, check_grads
from minigrad.testing.breaking import KINDS, Mutant, NothingBroken, break_gradient, mutants, why_left_out
from minigrad.testing.strategies import Call, op_calls

from . import checkers
from .report import between, marks

POINTS = 200
SEARCH = settings(
    phases=[Phase.generate], derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


def is_killed(mutant: Mutant, points: int = POINTS) -> bool:
    """Whether `check_grads` notices a mutant at one of some points."""
    name, target = mutant.op, f"{mutant.op}.{mutant.operand}"

    @settings(SEARCH, max_examples=points)
    @given(op_calls(OPS[name]))
    def prove(call: Call) -> None:
        try:
            with break_gradient(target, mutant.kind):
                check_grads(lambda *xs: call.of(functions[name], *xs), *call.operands(), order=1)
        except NothingBroken:
            pass  # nothing to break at this point: an empty array, an operand left out

    try:
        prove()
    except GradientError:
        return True
    return False


def table(killed: dict[Mutant, bool]) -> str:
    """For each kind how many mutants there are, were killed, and are left out since they change nothing."""
    lines = ["| a gradient that is | mutants | killed | alive | left out |", "|---|---|---|---|---|"]
    made = Counter(mutant.kind for mutant in killed)
    dead = Counter(mutant.kind for mutant, is_dead in killed.items() if is_dead)
    left = Counter(mutant.kind for mutant in mutants(left_out=True))
    for kind in KINDS:
        lines.append(f"| {kind} | {made[kind]} | {dead[kind]} | {made[kind] - dead[kind]} | {left[kind]} |")
    total = made.total(), dead.total(), made.total() - dead.total(), left.total()
    return "\n".join([*lines, f"| all | {' | '.join(map(str, total))} |"])


def reasons() -> Iterable[str]:
    """Why mutants are left out, and how many for each reason."""
    for reason, count in Counter(map(why_left_out, mutants(left_out=True))).items():
        yield f"- {count}: {reason}"


def main() -> None:
    """Print the tables and keep them in benchmarks/README.md; fail where a mutant is alive."""
    killed = {mutant: is_killed(mutant) for mutant in tqdm(mutants(), "mutants", leave=False)}
    text = "\n".join([table(killed), "", "Left out:", "", *reasons(), "", checkers.table(checkers.measure())])
    print(text)
    begin, end = marks("make mutants")
    readme = Path(__file__).parent / "README.md"
    readme.write_text(between(begin, readme.read_text(encoding="utf-8"), text, end), encoding="utf-8")
    alive = [str(mutant) for mutant, is_dead in killed.items() if not is_dead]
    sys.exit(f"alive: {', '.join(alive)}" if alive else 0)


if __name__ == "__main__":
    main()
