"""Kill a writer at random times and start it again, many times (trust test R5)."""

import json
import subprocess
import sys
from pathlib import Path

# The writer is forked, so that a kill costs milliseconds. It says how much it found when it started, then how much
# it has written, after each write; every start must find at least what was said before the kill.
_HARNESS = """
import json, os, random, signal, sys, time

{source}

moments, said, kills = random.Random(5), 0, 0
for number in range({times}):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        work(sys.argv[1], lambda count: os.write(writer, b"%d\\n" % count))
        os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as lines:
        found = int(lines.readline() or -1)
        assert found >= said, f"start {{number}} found {{found}} of {{said}}"
        heard = [lines.readline() for _ in range(number % 3)]
        time.sleep(moments.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        heard += lines.read().splitlines()
    kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    said = max([found, *map(int, heard)])
print(json.dumps([kills, said]))
"""


def kill_at_random_times(source: str, folder: Path, times: int = 50) -> int:
    """Start and kill a writer `times` times.

    Args:
        source: Defines `work(folder, say)`, which goes on where an earlier one was killed, and never returns; it
            calls `say(count)` first with what it found, then after every write with what there is.
        folder: Where it writes.
        times: Number of kills.

    Returns:
        The last count that was said.
    """
    script = _HARNESS.format(source=source, times=times)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    kills, said = json.loads(done.stdout)
    assert kills == times
    return said
