import json

from benchmarks.harness import Entry, write
from benchmarks.registry import BENCHMARKS
from benchmarks.report import main


def test_the_page_has_every_figure_and_says_what_is_missed(tmp_path):
    entries = [
        Entry("apply_to_job_p50", 9.0, "ms", 3.0, 3.0, 200, 0.1),
        Entry("apply_to_job_p99", 9.0, "ms", 6.0, 1.5, 200),
    ]
    write("apply_to_job", entries, 12.3, tmp_path)
    page = tmp_path / "page.md"
    assert main(["--from", str(tmp_path), "--out", str(page)]) == 0
    text = page.read_text()
    assert "| `apply_to_job_p50` | 9 | ms | 3 | 3 | 200 | 10% | **missed**: ratio <= 1.5 |" in text
    assert "holds: ratio <= 2" in text
    about = json.loads((tmp_path / "machine" / "apply_to_job.json").read_text())
    assert about["cpu"] in text
    assert about["date"] in text
    for name in BENCHMARKS.keys() - {"apply_to_job"}:
        assert f"- `{name}`: " in text
