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
    assert "Why `" not in text, "nothing is known of why these miss"
    for name in BENCHMARKS.keys() - {"apply_to_job"}:
        assert f"- `{name}`: " in text


def test_a_miss_is_explained_and_a_hit_is_not(tmp_path):
    for ratio, explained in ((1.0, True), (3.0, False)):
        write("eval_cpu", [Entry("eval_cpu_ctc", 9.0, "utterances/s", 3.0, ratio, 3)], 1.0, tmp_path)
        assert main(["--from", str(tmp_path), "--out", str(tmp_path / "page.md")]) == 0
        assert ("Why `eval_cpu_ctc` misses: " in (tmp_path / "page.md").read_text()) == explained
