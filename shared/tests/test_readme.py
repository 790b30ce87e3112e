import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_example_runs_twice_and_records_one_row(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    for _ in range(2):
        subprocess.run([sys.executable, "-W", "error", "-c", example], cwd=tmp_path, check=True)
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 2
    assert (tmp_path / "runs" / "example" / "summary.json").exists()
