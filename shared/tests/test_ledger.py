from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reprokit import DataIdentity, Ledger, UserError, standard_row
from reprokit.run.ledger import DATA, read_ledger

SCHEMA = {"run_id": str, "accuracy": float, "count": int, "good": bool, "text": str, "extra": dict}


def row(name="r1", **changes):
    values = {
        "run_id": name,
        "accuracy": 0.5,
        "count": 3,
        "good": True,
        "text": 'a, "b"',
        "extra": {"k": [1]},
    }
    return values | changes


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "deep" / "results.csv", SCHEMA)


def test_rows_come_back_typed(ledger):
    assert ledger.rows() == []
    assert not ledger.path.exists()
    assert ledger.append(row())
    assert ledger.append(
        row("r2", accuracy=np.float32(0.1), count=np.int64(7), good=np.bool_(False), text="")
    )
    assert ledger.append(row("r3", accuracy=None, count=None, good=None, extra=None))
    assert ledger.rows() == [
        row(),
        row("r2", accuracy=float(np.float32(0.1)), count=7, good=False, text=""),
        row("r3", accuracy=None, count=None, good=None, extra=None),
    ]


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), 1e-308, 0.1 + 0.2, 5e-324, -0.0])
def test_floats_are_exact(ledger, value):
    ledger.append(row(accuracy=value))
    found = ledger.rows()[0]["accuracy"]
    assert np.float64(found).tobytes() == np.float64(value).tobytes()


def test_nan_is_kept_apart_from_empty(ledger):
    ledger.append(row(accuracy=float("nan")))
    assert np.isnan(ledger.rows()[0]["accuracy"])


def test_a_finished_run_is_recorded_once(ledger):
    assert ledger.append(row())
    before = ledger.path.read_bytes()
    assert not ledger.append(row(accuracy=0.9))
    assert not Ledger(ledger.path, SCHEMA).append(row())
    assert ledger.path.read_bytes() == before
    assert ledger.has("r1")
    assert not ledger.has("r2")


def test_another_instance_sees_new_rows(ledger):
    other = Ledger(ledger.path, SCHEMA)
    assert not other.has("r1")
    ledger.append(row())
    assert other.has("r1")
    assert not other.append(row())


def test_a_deleted_or_replaced_file_is_noticed(ledger):
    ledger.append(row())
    ledger.append(row("r2"))
    ledger.path.unlink()
    assert not ledger.has("r1")
    assert ledger.append(row())
    assert len(ledger.rows()) == 1


def test_another_file_in_its_place_is_read_anew(ledger):
    ledger.append(row())
    other = Ledger(ledger.path.with_name("other.csv"), SCHEMA)
    for name in ("r5", "r6", "r7"):
        other.append(row(name))
    other.path.replace(ledger.path)
    assert not ledger.has("r1")
    assert ledger.has("r5")
    ledger.path.write_bytes(b"")  # the same file, shorter
    assert not ledger.has("r5")
    assert ledger.append(row("r5"))


def test_a_schema_without_run_id_takes_equal_rows(tmp_path):
    ledger = Ledger(tmp_path / "b.csv", {"case": str, "seconds": float})
    assert ledger.append({"case": "a", "seconds": 1})
    assert ledger.append({"case": "a", "seconds": 1})
    assert len(ledger.rows()) == 2


def test_standard_columns_and_metrics(tmp_path):
    ledger = Ledger.for_results(tmp_path / "r.csv", {"n_in": int, "test_acc": float})
    full = standard_row(
        {"s": 1}, package="p", claim="c", dataset="d", scale="smoke", seed=1, seconds=1, threads=1
    )
    ledger.append(full | {"n_in": 256, "test_acc": 0.8})
    (found,) = ledger.rows()
    assert found == full | {"n_in": 256, "test_acc": 0.8}
    assert ledger.path.read_text().startswith(
        "run_id,package,claim,dataset,scale,seed,n_in,test_acc,seconds,"
    )
    with pytest.raises(ValueError, match="columns seed exist"):
        Ledger.for_results(tmp_path / "r.csv", {"seed": int})


def old_results(path):
    """A ledger as releases before 0.3 wrote it, with one row."""
    ledger = Ledger.for_results(path, {"test_acc": float})
    old = [name for name in ledger.schema if name not in DATA]
    Ledger(path, {name: ledger.schema[name] for name in old}).append(
        {name: value for name, value in result(1).items() if name in old}
    )
    return ledger, path.read_bytes()


def result(seed):
    data = DataIdentity("d", "ab" * 32, {"train": 3, "test": 2}, 2) if seed > 1 else None
    common = {"package": "p", "claim": "c", "dataset": "d", "scale": "smoke", "seconds": 1.0, "threads": 1}
    return standard_row({"s": seed}, seed=seed, data=data, packages=(), **common) | {"test_acc": 0.5}


def test_a_ledger_without_data_columns_is_read_and_gets_them_with_the_next_row(tmp_path):
    ledger, before = old_results(tmp_path / "r.csv")
    first = result(1) | {
        "started": ledger.rows()[0]["started"],
        "peak_memory_mb": ledger.rows()[0]["peak_memory_mb"],
    }
    assert ledger.rows() == [first]
    assert ledger.path.read_bytes() == before
    assert (first["data_digest"], first["data_samples"], first["data_classes"]) == ("", None, None)
    late = Ledger.for_results(ledger.path, {"test_acc": float})
    second = result(2)
    assert ledger.append(second)
    assert not ledger.append(second)
    assert late.append(result(3))  # opened while the columns were missing
    assert [row["data_digest"] for row in ledger.rows()] == ["", "ab" * 32, "ab" * 32]
    assert ledger.rows()[:2] == [first, second]
    assert second["data_samples"] == {"train": 3, "test": 2}
    lines = ledger.path.read_text().splitlines()
    assert lines[0].endswith(",config,data_digest,data_samples,data_classes")
    assert lines[1].encode() == before.splitlines()[1] + b",,,"


def test_only_the_data_columns_may_be_missing(tmp_path):
    ledger, before = old_results(tmp_path / "r.csv")
    header, _, rest = before.decode().partition("\n")
    for lacking in (header.removesuffix(",config"), f"{header},data_digest"):
        ledger.path.write_text(f"{lacking}\n{rest}")
        with pytest.raises(UserError, match=r"has other columns: it lacks (config|data_samples)"):
            Ledger.for_results(ledger.path, {"test_acc": float})


def test_a_ledger_of_a_newer_version_is_named_as_such(ledger):
    Ledger(ledger.path, SCHEMA | {"later": str}).append(row() | {"later": "x"})
    with pytest.raises(
        UserError, match="has later besides, as a newer version writes; update this program, or write"
    ):
        Ledger(ledger.path, SCHEMA)


def test_a_run_measured_again_has_both_rows(ledger):
    ledger.append(row())
    assert not ledger.append(row())
    assert ledger.append(row(accuracy=0.75), again=True)
    assert [found["accuracy"] for found in ledger.rows()] == [row()["accuracy"], 0.75]


def test_line_ends_stay_what_they_are(ledger):
    ledger.append(row())
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b"\n", b"\r\n"))
    Ledger(ledger.path, SCHEMA).append(row("r2"))
    assert ledger.path.read_bytes().count(b"\r\n") == ledger.path.read_bytes().count(b"\n") == 3
    assert len(ledger.rows()) == 2


def test_mixed_line_ends_and_doubled_columns_are_one_sentence_with_the_line(tmp_path):
    path = tmp_path / "r.csv"
    path.write_bytes(b"a,b\n1,2\n3,4\r\n")
    with pytest.raises(UserError, match=r"r\.csv line 3 ends in another way than the lines before it"):
        read_ledger(path)
    path.write_bytes(b"a,b,a\n1,2,3\n")
    with pytest.raises(UserError, match=r"r\.csv line 1 has the column a twice; rename or remove one"):
        read_ledger(path)
    with pytest.raises(UserError, match="the column a twice"):
        Ledger(path, {"a": str, "b": str})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accuracy": "0.5"}, "column accuracy takes a float, not '0.5'"),
        ({"accuracy": True}, "column accuracy takes a float, not True"),
        ({"count": 1.0}, "column count takes a int, not 1.0"),
        ({"count": True}, "column count takes a int"),
        ({"good": 1}, "column good takes a bool, not 1"),
        ({"text": Path("x")}, "column text takes a str"),
        ({"text": "two\nlines"}, "takes one line"),
        ({"text": "two\rlines"}, "takes one line"),
        ({"text": "nul\0"}, "takes one line"),
        ({"text": "x" * 131_073}, "at most 131072 characters"),
        ({"extra": [1]}, "column extra takes a dict"),
        ({"unknown": 1}, "has the unknown columns unknown"),
    ],
)
def test_wrong_values_are_refused_and_nothing_is_written(ledger, change, message):
    with pytest.raises(UserError, match=message):
        ledger.append(row(**change))
    assert not ledger.path.exists()


def test_missing_columns_are_named(ledger):
    with pytest.raises(UserError, match="lacks accuracy, good and has the unknown columns more"):
        ledger.append({"run_id": "a", "count": 1, "text": "", "extra": {}, "more": 1})


def test_the_longest_cell_can_be_read_back(ledger):
    ledger.append(row(text="x" * 131_072))
    assert len(ledger.rows()[0]["text"]) == 131_072


def test_other_columns_are_an_error_that_names_them(ledger):
    ledger.append(row())
    schema = {name: kind for name, kind in SCHEMA.items() if name != "count"} | {"recall": float}
    with pytest.raises(UserError, match=r"it lacks recall and it has count besides; .*Ledger.widen"):
        Ledger(ledger.path, schema)
    with pytest.raises(UserError, match="their order differs"):
        Ledger(ledger.path, dict(reversed(SCHEMA.items())))


def test_columns_that_appear_later_are_noticed_at_append(tmp_path):
    early = Ledger(tmp_path / "r.csv", {"run_id": str})
    Ledger(tmp_path / "r.csv", SCHEMA).append(row())
    with pytest.raises(UserError, match="besides"):
        early.append({"run_id": "x"})
    with pytest.raises(UserError, match="besides"):
        early.rows()


def test_widen_adds_columns_and_loses_none(ledger):
    ledger.append(row())
    wider = Ledger.widen(ledger.path, SCHEMA | {"recall": float})
    assert wider.rows() == [row() | {"recall": None}]
    assert wider.append(row("r2") | {"recall": 0.5})
    with pytest.raises(UserError, match=r"has the columns accuracy, .* lost"):
        Ledger.widen(ledger.path, {"run_id": str})
    with pytest.raises(UserError, match="other columns"):
        ledger.append(row("r3"))


def test_column_types_are_checked(tmp_path):
    with pytest.raises(TypeError, match="cannot be of type list"):
        Ledger(tmp_path / "x.csv", {"a": list})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"), max_size=30),
    number=st.floats(allow_nan=False),
    count=st.integers(),
    extra=st.dictionaries(st.text(max_size=5), st.lists(st.integers(), max_size=3), max_size=3),
)
def test_any_value_round_trips(tmp_path, text, number, count, extra):
    path = tmp_path / "any.csv"
    path.unlink(missing_ok=True)
    ledger = Ledger(path, SCHEMA)
    values = row(text=text, accuracy=number, count=count, extra=extra)
    ledger.append(values)
    assert ledger.rows() == [values]


def test_files_of_release_0_1_stay_readable():
    """R17."""
    (found,) = Ledger(Path(__file__).parent / "old_files" / "ledger-0.1.csv", SCHEMA).rows()
    assert found == row()
