"""Many short Jobs leave nothing behind: no process, no open file, no directory, and little memory."""

import pytest

from .load import measure

pytestmark = pytest.mark.slow


def test_jobs_leave_nothing_behind(tmp_path):
    figures = measure(tmp_path, jobs=60, seconds=1.0, limit=120)
    assert figures.after.processes == figures.before.processes == 1, "the shim alone"
    assert figures.after.shim_files == figures.before.shim_files
    assert figures.after.files <= figures.before.files + 20, "but for idle connections"
    assert figures.after.folders == 0
    assert figures.loaded_mb < 100
