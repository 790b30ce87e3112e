import errno
import io
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import tyro
from reprokit import UserError, cli
from reprokit.cli import running


def fail(error):
    def command():
        raise error

    return command


def python(code, **options):
    return subprocess.run(
        [sys.executable, "-c", f"import sys\nfrom reprokit.cli import run, say\n{code}"],
        **{"capture_output": True, "text": True, "timeout": 300} | options,
    )


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (1, 1), (True, 0), ("text", 0)])
def test_exit_code_of_a_command(result, code):
    assert cli.run(lambda: result) == code


def test_user_errors_are_one_sentence(capsys):
    assert cli.run(fail(UserError("n_in is 0;\n  it must be above 0"))) == 2
    assert capsys.readouterr() == ("", "error: n_in is 0; it must be above 0\n")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "read-only"),
        (errno.ENOENT, "no such file"),
        (errno.EDQUOT, "quota"),
    ],
)
def test_repairable_system_errors_are_one_sentence(capsys, number, words):
    assert cli.run(fail(OSError(number, os.strerror(number), "/data/x"))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: /data/x: ")
    assert words in err
    assert err.count("\n") == 1


def test_a_full_disk_without_a_file_name(capsys, monkeypatch):
    forgotten = []
    monkeypatch.setattr(running, "_forget_stdout", lambda: forgotten.append(1))
    assert cli.run(fail(OSError(errno.ENOSPC, "No space left on device"))) == 2
    assert forgotten == [1]
    assert capsys.readouterr().err.startswith("error: output: the disk is full")


@pytest.mark.parametrize("error", [OSError(errno.ECHILD, "odd"), ValueError("defect"), OSError("no number")])
def test_defects_keep_their_traceback(error):
    with pytest.raises(type(error)):
        cli.run(fail(error))


@pytest.mark.parametrize("error", [UserError("x"), PermissionError(errno.EACCES, "x")])
def test_debugging_keeps_every_traceback(error, monkeypatch):
    monkeypatch.setenv("REPROKIT_DEBUG", "1")
    with pytest.raises(type(error)):
        cli.run(fail(error))


@pytest.mark.parametrize(("stop", "code"), [(SystemExit(), 0), (SystemExit(3), 3), (SystemExit("why"), 2)])
def test_system_exit(stop, code, capsys):
    assert cli.run(fail(stop)) == code
    assert capsys.readouterr().err == ("error: why\n" if stop.code == "why" else "")


def test_wrong_flags_end_with_2(capsys):
    @dataclass
    class Options:
        n_in: int = 3

    for spelling in ("--n-in", "--n_in"):
        assert cli.run(lambda flag=spelling: tyro.cli(Options, args=[flag, "4"]).n_in) == 4
    assert cli.run(lambda: tyro.cli(Options, args=["--n-out", "4"])) == 2
    assert cli.run(lambda: tyro.cli(Options, args=["--n-in", "x"])) == 2
    assert cli.run(lambda: tyro.cli(Options, args=["--help"])) == 0
    capsys.readouterr()


def test_interrupt(capsys):
    assert cli.run(fail(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err.startswith("error: interrupted")


def test_a_real_interrupt_signal():
    # shells start background jobs with Ctrl-C ignored; the child must not inherit that
    listen = "import signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code = f"{listen}def main():\n    say('go')\n    time.sleep(60)\nsys.exit(run(main))"
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys\nfrom reprokit.cli import run, say\n{code}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert err.startswith("error: interrupted")
    assert err.count("\n") == 1


def test_a_closed_pipe_ends_quietly():
    code = "def main():\n    for i in range(100000): say(str(i))\nsys.exit(run(main))"
    reader, writer = os.pipe()
    os.close(reader)
    done = python(code, capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_full_standard_output():
    with Path("/dev/full").open("w") as full:
        done = python(
            "sys.exit(run(lambda: say('x')))", capture_output=False, stdout=full, stderr=subprocess.PIPE
        )
        unflushed = python(
            "sys.exit(run(lambda: print('x') or None))",
            capture_output=False,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    for one in (done, unflushed):
        assert one.returncode == 2
        assert (
            one.stderr == "error: output: the disk is full; free some space and run the same command again\n"
        )


def test_closed_standard_error_is_no_second_error():
    done = python(
        "sys.stderr.close()\nfrom reprokit import UserError\n"
        "def main(): raise UserError('x')\nsys.exit(run(main))"
    )
    assert done.returncode == 2


def test_a_reader_that_left(monkeypatch, capfd):
    assert cli.run(fail(BrokenPipeError())) == 141
    monkeypatch.setattr(running.sys, "stdout", None)  # as in a windowed program
    with pytest.raises(AttributeError):
        running._forget_stdout()
    assert capfd.readouterr() == ("", "")


def test_what_follows_a_broken_output_goes_nowhere():
    done = python("from reprokit.cli import running\nsay('a')\nrunning._forget_stdout()\nsay('b')")
    assert (done.stdout, done.stderr, done.returncode) == ("a\n", "", 0)


def test_a_closed_standard_error_is_ignored(monkeypatch):
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    assert cli.run(fail(UserError("x"))) == 2


def test_the_reprokit_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["reprokit", "--help"])
    assert cli.main() == 0
    assert "judge" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["reprokit", "data", "list"])
    assert cli.main() == 0
    assert "mnist" in capsys.readouterr().out


def test_warnings_are_one_line():
    done = python("import warnings\nrun(lambda: warnings.warn('slow engine', RuntimeWarning))")
    assert done.stderr == "warning: slow engine\n"
    before = warnings.formatwarning
    cli.run(lambda: None)
    assert warnings.formatwarning is before


def test_say_writes_one_line(capsys):
    cli.say("a")
    cli.say()
    assert capsys.readouterr().out == "a\n\n"
