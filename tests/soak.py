"""A thousand new examples for every op's test on the CPU, and how many there were: `make soak`.

Names of ops leave the others out: `python tests/soak.py lstm gru`.
"""

import re
import subprocess
import sys

TEST = "tests/minigrad/test_ops.py::test_op"
OPTIONS = [
    *("-q", "-n", "auto", "--maxschedchunk=1"),  # one op at a time: some take ten times as long
    *("--hypothesis-profile=soak", "--hypothesis-show-statistics"),
]
# What Hypothesis says of a test, as far as it is of use here.
STATISTICS = re.compile(
    rf"{TEST}\[cpu-(\w+)\]:\n.*?generate phase \(([\d.]+) seconds\).*?(\d+) passing, (\d+) failing.*?"
    r"Stopped because (.*?)\n",
    re.DOTALL,
)


def main(names: list[str]) -> int | str:
    """Run the test and print a line for each op; the exit status is pytest's."""
    which = [f"{TEST}[cpu-{name}]" for name in names] or [TEST, "-k", "cpu"]
    command = [sys.executable, "-m", "pytest", *OPTIONS, *which]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output, hidden = "", False
        for line in process.stdout:
            output += line
            if line.startswith("==="):
                hidden = "Statistics" in line
            if not hidden:
                print(line, end="", flush=True)
    found = sorted(STATISTICS.findall(output))
    print(f"\n{'op':20}{'examples':>9}{'failing':>9}{'seconds':>9}")
    for name, seconds, passing, failing, reason in found:
        note = "" if reason.startswith("settings.max_examples") else reason
        print(f"{name:20}{passing:>9}{failing:>9}{float(seconds):>9.0f}  {note}".rstrip())
    examples, failing = (sum(int(row[i]) for row in found) for i in (2, 3))
    print(f"{len(found)} ops, {examples:,} examples, {failing} failing")
    return process.returncode or (0 if found else "no statistics found: does Hypothesis word them in another way?")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
