from tests.demos import crash


def test_runs_that_are_killed_at_any_moment_end_in_the_same_bits(tmp_path):
    counts = crash.crash(kills=6, seed=1, folder=tmp_path)
    assert counts["kills"] == 6
    assert counts["runs that differ"] == 0 < counts["runs to the end"]
