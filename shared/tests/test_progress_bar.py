import io
import sys

from reprokit import progress


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
