import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_example_runs_twice_and_records_one_row(tmp_path):
    example = blocks()[0]
    for _ in range(2):
        subprocess.run([sys.executable, "-W", "error", "-c", example], cwd=tmp_path, check=True)
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 2
    assert (tmp_path / "runs" / "example" / "summary.json").exists()


def test_the_sweep_makes_four_rows_once(tmp_path):
    _, sweep = blocks()
    (tmp_path / "sweep.py").write_text(sweep)
    for count in ("4 done, 0 skipped", "0 done, 4 skipped"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "sweep.py"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        )
        assert count in done.stdout
    assert len((tmp_path / "sweep.csv").read_text().splitlines()) == 5
