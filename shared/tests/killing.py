"""Kill a writer at every point where it touches the disk, one after another, and start it again (trust test R5).

Nothing depends on the clock: a point is the n-th call of a function that opens, writes, flushes, renames or deletes.
"""

import json
import subprocess
import sys
from pathlib import Path

# Source for a forked writer: `arm(n)` lets it die at its n-th point, before the call or, when torn, in the middle of a
# write; `passed[0]` counts the points.
POINTS = """
import os, signal

passed = [0]
real_write = os.write

def arm(limit, torn=False, more=()):
    def at_point(call, name):
        def stand_in(*arguments, **options):
            passed[0] += 1
            if passed[0] == limit:
                if torn and name == "write":
                    call(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)
        return stand_in
    names = ("open", "write", "fsync", "replace", "unlink", "truncate", "ftruncate", "mkdir", "rmdir")
    for owner, name in [*((os, name) for name in names), *more]:
        setattr(owner, name, at_point(getattr(owner, name), name))
"""

# The writer says how much it found when it started, then how much it has written, after each write; every start must
# find at least what was said before the kill.
_HARNESS = """
import json, sys

{points}
{source}

said, kills = 0, 0
for number in range({times}):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        arm(number // 2 + 1, torn=number % 2 == 1)
        work(sys.argv[1], lambda count: real_write(writer, b"%d\\n" % count))
        os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as lines:
        counts = [int(line) for line in lines]
    if counts:
        assert counts[0] >= said, f"start {{number}} found {{counts[0]}} of {{said}}"
        said = counts[-1]
    kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
print(json.dumps([kills, said]))
"""


def kill_at_every_point(source: str, folder: Path, times: int = 100) -> int:
    """Start and kill a writer `times` times, at points 1 to `times` / 2, each before and in the middle of the call.

    Args:
        source: Defines `work(folder, say)`, which continues where an earlier one was killed, and never returns; it
            calls `say(count)` first with the count it found, then after every write with the new one.
        folder: Where it writes.
        times: Number of kills.

    Returns:
        The last count passed to `say`.
    """
    script = _HARNESS.format(points=POINTS, source=source, times=times)
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
