import io
import subprocess
import sys

from reprokit import progress
from reprokit.terminal import say


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_silent_without_a_terminal(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress(range(3), description="epochs")) == [0, 1, 2]
    with progress(total=3) as bar:
        bar.update(1)
        bar.set_postfix_str("x")
    assert stream.getvalue() == ""


def test_a_bar_on_a_terminal(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress(range(3), description="epochs")) == [0, 1, 2]
    assert "epochs" in stream.getvalue()
    assert "3/3" in stream.getvalue() or "0/3" in stream.getvalue()


def test_a_line_is_not_written_behind_a_bar(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    with progress(total=3, description="epochs") as bar:
        bar.update(1)
        say("epoch 1 of 3")
    written = stream.getvalue()
    assert written.partition("epoch 1 of 3\n")[0].endswith("\r")
    assert "epochs" in written.partition("epoch 1 of 3\n")[2], "the bar is drawn again below the line"


def test_a_bar_does_not_wait_for_a_killed_child():
    code = (
        "import os, signal\n"
        "from reprokit import progress\n"
        "bar = progress()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    bar.get_lock().acquire()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.waitpid(child, 0)\n"
        "print(sum(progress(range(4))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "6\n"
