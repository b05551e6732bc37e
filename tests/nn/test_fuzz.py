from pathlib import Path

import pytest

from tests.nn import fuzz


def test_a_damaged_file_is_refused_or_right(tmp_path: Path) -> None:
    counts = fuzz.fuzz(range(2000), seed=1, path=tmp_path / "a")
    assert {came for _, came in counts} == {"refused", "right"}
    agree = sum(counts[damage.__name__, "right"] for damage in fuzz.WITH_INTENT)
    assert agree > 100, "or the digests of edits with intent don't fit, and nothing but that is tested"
    assert {damage for damage, _ in counts} == {damage.__name__ for damage in (*fuzz.AT_RANDOM, *fuzz.WITH_INTENT)}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read there")
def test_no_file_takes_more_memory_than_its_size_accounts_for(tmp_path: Path) -> None:
    times = fuzz.memory(3_000_000, tmp_path / "a")
    assert {name: took for name, (took, most) in times.items() if took > most} == {}
