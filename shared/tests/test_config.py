import hashlib
import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import pytest
from reprokit import UserError
from reprokit.config import (
    content_of,
    derived_seed,
    device_name,
    nearest,
    read_config_file,
    rebuild,
)


@dataclass(frozen=True)
class Part:
    width: int = 1
    pair: tuple[int, float] = (1, 2.0)


@dataclass(frozen=True)
class Settings:
    name: str
    rule: Literal["bp", "fa", "bdfa"] = "bp"
    level: Literal[1, 2] = 1
    rate: float = 0.5
    limit: int | None = None
    scale: Literal["auto"] | float = "auto"
    flag: bool = False
    hidden: tuple[int, ...] = ()
    parts: tuple[Part, ...] = ()
    part: Part = field(default_factory=Part)
    other: Part | None = None
    out: Path | None = None

    def __post_init__(self):
        if self.rate < 0:
            raise UserError(f"rate is {self.rate}; it must be 0 or more.")


GOOD = {
    "name": "x",
    "rule": "fa",
    "level": 2,
    "rate": 3,
    "limit": 4,
    "scale": 2,
    "flag": True,
    "hidden": [8, 9],
    "parts": [{"width": 2}, {}],
    "part": {"pair": [3, 4]},
    "other": {"width": 5},
    "out": "a/b",
}


def test_every_kind_of_value_is_read():
    found = rebuild(Settings, GOOD, "f")
    parts = (Part(2), Part())
    assert found == Settings(
        "x", "fa", 2, 3.0, 4, 2.0, True, (8, 9), parts, Part(1, (3, 4.0)), Part(5), Path("a/b")
    )
    assert [type(value) for value in (found.rate, found.scale, found.part.pair[1])] == [float] * 3
    assert rebuild(Settings, {"name": "x", "limit": None, "scale": "auto", "out": None}, "f") == Settings("x")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rule", "bdfs", "f: rule must be one of 'bp', 'fa', 'bdfa', not 'bdfs' (did you mean 'bdfa'?)"),
        ("level", True, "f: level must be one of 1, 2, not True"),
        ("level", 1.0, "f: level must be one of 1, 2, not 1.0"),
        ("rate", "3", "f: rate must be a finite number, not '3'"),
        ("rate", -(10**400), f"f: rate must be a finite number, not {-(10**400)}"),
        ("rate", True, "f: rate must be a finite number, not True"),
        ("rate", float("nan"), "f: rate must be a finite number, not nan"),
        ("rate", -1, "rate is -1.0; it must be 0 or more."),
        ("limit", 3.0, "f: limit must be a whole number, not 3.0"),
        ("limit", "3", "f: limit must be a whole number, not '3'"),
        ("limit", True, "f: limit must be a whole number, not True"),
        (
            "scale",
            "aut",
            "f: scale must be one of 'auto' or a finite number, not 'aut' (did you mean 'auto'?)",
        ),
        ("scale", None, "f: scale must be one of 'auto' or a finite number, not None"),
        ("flag", 1, "f: flag must be true or false, not 1"),
        ("name", None, "f: name must be a string, not None"),
        ("hidden", 8, "f: hidden must be a list, each a whole number, not 8"),
        ("hidden", [8, "9"], "f: hidden[1] must be a whole number, not '9'"),
        ("part", 3, "f: part must be a table, not 3"),
        ("part", {"pair": [1]}, "f: part.pair must be a list of 2, each a whole number, not [1]"),
        ("part", {"widht": 1}, "f: unknown key 'part.widht'; the nearest valid key is 'part.width'"),
        ("other", {"width": 1.5}, "f: other.width must be a whole number, not 1.5"),
        ("parts", [{}, {"width": []}], "f: parts[1].width must be a whole number, not []"),
        ("out", 3, "f: out must be a path, not 3"),
        ("rat", 1, "f: unknown key 'rat'; the nearest valid key is 'rate'"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_its_path(key, value, message):
    with pytest.raises(UserError) as caught:
        rebuild(Settings, {"name": "x", key: value}, "f")
    assert str(caught.value) == message


def test_a_missing_key_is_named():
    with pytest.raises(UserError, match=r"f: key 'name' is missing; it must be a string"):
        rebuild(Settings, {}, "f")


def test_places_win_and_ignored_keys_are_passed_over():
    values = {"name": "x", "out": "old", "package": "p"}
    assert rebuild(Settings, values, "f", ignore=["package"], out=Path("new")).out == Path("new")
    with pytest.raises(UserError, match="unknown key 'outt'"):
        rebuild(Settings, {"name": "x"}, "f", outt=1)


def test_configurations_come_from_toml_and_from_the_files_of_a_run(tmp_path):
    (tmp_path / "c.toml").write_text('name = "x"\nrate = 3\n[part]\nwidth = 7\n')
    assert read_config_file(Settings, tmp_path / "c.toml") == Settings("x", rate=3.0, part=Part(7))
    (tmp_path / "options.json").write_text(json.dumps({"package": "p", **GOOD}))
    assert read_config_file(Settings, str(tmp_path / "options.json")) == rebuild(Settings, GOOD, "f")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.toml", None, "cannot be read as TOML"),
        ("c.toml", b"name = ", "cannot be read as TOML"),
        ("c.toml", b"\xff", "cannot be read as TOML"),
        ("config.json", b"{", "cannot be read as JSON"),
        ("config.json", b"[" * 100_000, "cannot be read as JSON"),
        ("config.json", b"[]", "holds no JSON object"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} {message}") as caught:
        read_config_file(Settings, tmp_path / name)
    assert "\n" not in str(caught.value)


def test_the_nearest_name_is_a_hint_or_nothing():
    assert nearest("MNST", ("mnist", "digits")) == " (did you mean 'mnist'?)"
    assert nearest("mnits", ("MNIST",)) == " (did you mean 'MNIST'?)"
    assert nearest("zzz", ("mnist",)) == ""


def test_seeds_are_those_of_version_0_1():
    assert derived_seed(1, "order", 7) == 1640480807095973457
    digest = hashlib.sha256(b"1/order/7").digest()
    assert derived_seed(1, "order", 7) == int.from_bytes(digest[:8], "little") >> 1


@pytest.mark.parametrize(
    ("name", "gpus", "device"),
    [("auto", 0, "cpu"), ("auto", 2, "cuda:0"), ("cpu", 2, "cpu"), ("cuda", 1, "cuda:0"), ("cuda:1", 2, "cuda:1"),
     ("1", 2, "cuda:1")],
)  # fmt: skip
def test_devices_have_one_name(name, gpus, device):
    assert device_name(name, gpus) == device


@pytest.mark.parametrize("name", ["tpu", "cpu:0", "cuda:x", "-1", "", "cuda:1", "cuda:99"])
def test_other_devices_and_absent_gpus_are_refused(name):
    with pytest.raises(UserError, match=r"--device is '.*cpu"):
        device_name(name, 1)


def test_a_missing_gpu_given_by_number_falls_back_to_the_cpu():
    with pytest.warns(UserWarning, match="there is no GPU 3"):
        assert device_name("3", 1) == "cpu"


@dataclass(frozen=True)
class Later:
    rate: float = 1.0
    part: Part = field(default_factory=Part)
    extra: bool = False
    revision: int = 1


def test_later_fields_are_hashed_only_where_they_differ():
    later = {"extra": False, "part.pair": (1, 2.0)}
    assert content_of(Later(), since_0_1=later) == {"rate": 1.0, "part": {"width": 1}}
    changed = Later(part=Part(1, (0, 0.0)), extra=True, revision=2)
    found = content_of(changed, since_0_1=later)
    assert found == {"rate": 1.0, "part": {"width": 1, "pair": (0, 0.0)}, "extra": True, "revision": 2}
    assert content_of({"rate": 1.0, "revision": 1}) == {"rate": 1.0}
    assert rebuild(Later, content_of(Later(), since_0_1=later), "f") == Later()
    assert {f.name for f in fields(Later)} >= {"revision"}
