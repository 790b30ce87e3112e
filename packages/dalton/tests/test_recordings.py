"""Own event recordings in class folders: formats, clocks, sensors, classes, and what is reported or refused."""

import struct
import zipfile

import dalton
import numpy as np
import pytest
from dalton import cli
from dalton.data import load
from dalton.data.sources import is_event_source
from event_samples import random_events
from reprokit import UserError
from reprokit.readers.nmnist import encode_nmnist

SENSOR = (20, 30)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REPROKIT_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("REPROKIT_OFFLINE", "1")


def as_bin(t, x, y, p):
    """N-MNIST's five bytes, of any sensor."""
    return b"".join(
        struct.pack(">BBBH", a, b, c << 7 | time >> 16, time & 0xFFFF)
        for time, a, b, c in zip(t.tolist(), x.tolist(), y.tolist(), p.tolist(), strict=True)
    )


def as_npy(t, x, y, p, path):
    kind = np.dtype([("x", "<u2"), ("y", "<u2"), ("polarity", "?"), ("timestamp", "<u8")])
    events = np.zeros(len(t), kind)
    events["x"], events["y"], events["polarity"], events["timestamp"] = x, y, p, t + 10**15
    np.save(path, events)


def as_csv(t, x, y, p, path):
    rows = "".join(f"{a}; {b};{c} ;{d}\n" for a, b, c, d in zip(y, p * 2 - 1, x, t + 500_000, strict=True))
    path.write_text("\ufeff Y; P;x ;t\n" + rows, encoding="utf-8")


def as_aedat3(t, x, y, p):
    head = b"#!AER-DAT3.1\r\n#!END-HEADER\r\n"
    address = x.astype(np.int64) << 17 | y.astype(np.int64) << 2 | p.astype(np.int64) << 1 | 1
    body = np.stack([address, t], 1).astype("<u4").tobytes()
    return head + struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, len(t), len(t), len(t)) + body


def write(path, events):
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".npy":
            as_npy(*events, path)
        case ".npz":
            np.savez(path, **dict(zip("txyp", events, strict=True)))
        case ".csv":
            as_csv(*events, path)
        case ".aedat":
            path.write_bytes(as_aedat3(*events))
        case _:
            path.write_bytes(as_bin(*events))


def corners(seed, end=50_000, count=200, sensor=SENSOR):
    """Random events; the first is in the last corner, so that every recording fills the sensor."""
    t, x, y, p = random_events(np.random.default_rng(seed), count, sensor, end)
    x[0], y[0], t[-1] = sensor[1] - 1, sensor[0] - 1, end
    return t, x, y, p


def folder(path, suffix=".bin", parts=("Train", "Test"), classes=("cup", "dog"), count=3, **options):
    for k, part in enumerate(parts):
        for c, name in enumerate(classes):
            for n in range(count):
                write(path / part / name / f"rec_{n}{suffix}", corners(100 * k + 10 * c + n, **options))
    return path


def total(splits, steps=60):
    """All frames of the training recordings."""
    x, y = splits.train.take(slice(0, len(splits.train)))
    return x.numpy(), y.tolist()


def test_every_format_gives_the_same_frames(tmp_path):
    """For any file and any start of its clock no event is lost, the last frame included."""
    expected = None
    for suffix in (".bin", ".npy", ".npz", ".csv", ".aedat"):
        path = folder(tmp_path / suffix[1:], suffix)
        assert is_event_source(path)
        own = load(path, steps=60)
        assert (own.input_shape, own.class_names, own.name) == ((2, *SENSOR), ("cup", "dog"), suffix[1:])
        assert (len(own.train), len(own.test)) == (6, 6)
        x, y = total(own)
        assert x.sum() == 6 * 200
        assert sorted(y) == [0, 0, 0, 1, 1, 1]
        expected = x if expected is None else expected
        assert np.array_equal(x, expected), suffix
        assert any("1200 of 1200 events kept" in line for line in own.notes)
    t, _, _, p = corners(0)
    assert x[(t[0] - t[0]) // 1000, 0, p[0], -1, -1] >= 1


def test_a_zip_is_read_like_its_folder_and_trains(tmp_path, capsys):
    path = folder(tmp_path / "own", ".aedat")
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        for file in path.rglob("*.aedat"):
            archive.write(file, file.relative_to(tmp_path))
    one, other = (load(source, steps=60) for source in (path, tmp_path / "own.zip"))
    assert np.array_equal(total(one)[0], total(other)[0])
    words = [
        "--arch",
        "small_runs:TINY",
        "--epochs",
        "1",
        "--steps",
        "60",
        "--validation",
        "0",
        "--threads",
        "1",
    ]
    assert (
        cli.main(["train", "--data", str(tmp_path / "own.zip"), *words, "--out", str(tmp_path / "run")]) == 0
    )
    said = capsys.readouterr().out
    assert "2 classes (cup, dog), sensor of 20 x 30 pixels" in said
    assert "own train: 1200 of 1200 events kept" in said
    assert cli.main(["info", str(tmp_path / "run")]) == 0
    assert "data used                own (SHA-256" in capsys.readouterr().out


def test_class_folders_alone_are_divided(tmp_path):
    path = folder(tmp_path / "own", parts=("",), count=10)
    own = load(path, steps=60)
    assert (np.bincount(own.train.labels).tolist(), np.bincount(own.test.labels).tolist()) == ([8, 8], [2, 2])
    assert any("no train/ and test/ folders; 4 recordings" in line for line in own.notes)
    again = load(path, steps=60, seed=5)
    assert np.array_equal(total(own)[0], total(again)[0])  # the test set is the same for all seeds


def test_a_folder_of_cifar10_dvs_follows_its_protocol(tmp_path):
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    path = tmp_path / "CIFAR10DVS"
    for c, name in enumerate(names):
        for n in (0, 1, 2, 10, 11):
            write(path / name / f"cifar10_{name}_{n}.aedat", corners(10 * c + n, 40_000, sensor=(128, 128)))
    own = load(path)
    assert (own.input_shape, own.train.steps, own.test.steps) == ((2, 32, 32), 500, 1141)
    assert own.train.samples.random
    assert len(own.test) == 10  # number 11 of each, not the last by name
    assert any("the last tenth of each class by file number" in line for line in own.notes)


def test_longer_recordings_are_refused_or_warned_of(tmp_path):
    path = folder(tmp_path / "own", end=900_000)
    message = (
        r"own train: 8\d\d of 1200 events come after the first 300 frames of 1 ms; half of them last 89\d ms"
    )
    with pytest.raises(UserError, match=message):
        load(path)
    with pytest.warns(UserWarning, match="come after the first 300 frames"):
        assert load(path, allow_loss=True).train.steps == 300
    assert load(path, steps=910).train.steps == 910
    assert load(path, time_window=10_000).input_shape == (2, *SENSOR)


def test_time_units(tmp_path):
    path = tmp_path / "own"
    for n in range(10):
        t, x, y, p = corners(n)
        file = path / "abc"[n % 2] / f"{n}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = "".join(f"{a},{b},{c},{d}\n" for a, b, c, d in zip(t / 1e6 + 1.7e9, x, y, p, strict=True))
        file.write_text("t,x,y,p\n" + rows)
    with pytest.raises(UserError, match="t has fractions of a microsecond; give its unit: --time-unit s"):
        load(path)
    own = load(path, time_unit="s", steps=60)
    assert total(own)[0].sum() == len(own.train) * 200
    for file in path.rglob("*.csv"):
        t, x, y, p = corners(int(file.stem))
        file.write_text(
            "t,x,y,p\n" + "".join(f"{a},{b},{c},{d}\n" for a, b, c, d in zip(t // 1000, x, y, p, strict=True))
        )
    with pytest.raises(
        UserError, match="last no longer than one frame of 1 ms; if their times are not in us"
    ):
        load(path)
    assert total(load(path, time_unit="ms", steps=60))[0].sum() == len(own.train) * 200


def test_the_filter_acts_only_where_it_is_asked_for(tmp_path):
    path = folder(tmp_path / "own", end=2_000_000)
    everything = load(path, steps=2001)
    filtered = load(path, steps=2001, denoise_us=20_000)
    assert total(everything)[0].sum() == 1200 > total(filtered)[0].sum()
    assert any("a noise filter of 20 ms let" in line for line in filtered.notes)
    smaller = load(path, steps=2001, spatial_factor=0.5)
    assert smaller.input_shape == (2, 10, 15)
    assert total(smaller)[0].sum() == 1200


def test_the_sensor_is_found_or_given(tmp_path):
    path = folder(tmp_path / "own")
    assert load(path, steps=60, sensor=(40, 40)).input_shape == (2, 40, 40)
    with pytest.raises(UserError, match=r"has y 19, outside the sensor; allowed: 0 to 9"):
        load(path, steps=60, sensor=(10, 40))
    t, x, y, p = corners(9)
    x[5] = 255
    write(path / "Train" / "cup" / "rec_9.bin", (t, x, y, p))
    with pytest.raises(
        UserError, match=r"rec_9.bin: reaches x = 255, half of the recordings only 29; repair it"
    ):
        load(path, steps=60)


def test_digit_folders_of_another_sensor_are_no_nmnist(tmp_path):
    """N-MNIST's own layout keeps its protocol: ten classes, 34 x 34, the noise filter."""
    path = folder(tmp_path / "own", classes=("0", "1", "2"), sensor=(60, 80))
    own = load(path, steps=60)
    assert (own.input_shape, own.class_names) == ((2, 60, 80), ("0", "1", "2"))
    (path / "Train" / "0" / "rec_0.bin").write_bytes(b"abc")
    with pytest.raises(UserError, match=r"rec_0.bin: 3 bytes are not a whole number of 5-byte events"):
        load(path, steps=60)
    small = folder(tmp_path / "digits", classes=("0", "1"), sensor=(34, 34))
    assert load(small, steps=40).classes == 10
    (small / "Train" / "0" / "rec_0.bin").write_bytes(
        encode_nmnist(*corners(0, sensor=(34, 34))) + bytes([99, 9, 0, 255, 255])
    )
    with pytest.raises(UserError, match="is at x=99"):
        load(small, steps=40)


def test_empty_recordings_and_stray_files_are_counted(tmp_path):
    path = folder(tmp_path / "own", count=12)
    (path / "Train" / "cup" / "empty.bin").write_bytes(b"")
    assert any(
        line.endswith("train: 24 of 25 recordings kept; 1 hold no events")
        for line in load(path, steps=60).notes
    )
    (path / "Train" / "cup" / "empty2.bin").write_bytes(b"")
    with pytest.raises(UserError, match="2 of 26 recordings hold no events; remove them, or --allow-loss"):
        load(path, steps=60)
    with pytest.warns(UserWarning, match="2 of 26 recordings"):
        load(path, steps=60, allow_loss=True)
    with pytest.raises(UserError, match="2 of 26 recordings"):  # prepared by now, and still refused
        load(path, steps=60)
    write(path / "Test" / "owl" / "a.bin", corners(1))
    with pytest.raises(UserError, match="the training set has no class 'owl'"):
        load(path, steps=60, allow_loss=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "1,2,3,4\n5,6,7,8\n", "the first line is '1,2,3,4'; it must name the columns"),
        ("a.csv", "t,x,y\n1,2,3\n", "names t, x, y; one column each must be t, x, y and p"),
        ("a.csv", "t,x,y,p\n1,2,3\n", "rows have 3 values, the header names 4"),
        ("a.csv", "t,x,y,p\n1,2,3,5\n", "p goes from 5 to 5; allowed: 0 and 1, or -1 and 1"),
        ("a.csv", "t,x,y,p\n1,-2,3,1\n", "x goes from -2 to -2"),
        ("a.csv", "t,x,y,p\n1,2.5,3,1\n", "x is float64 with values that are not whole numbers"),
        ("a.csv", "t,x,y,p\n9,2,3,1\n5,2,3,1\n", "event 1 at -4 us comes after one at 0 us; sort"),
        ("a.csv", "t,x,y,p\n9,3000,3,1\n", "an event is at 3000, but no sensor has more than 2048"),
        ("a.csv", "t,x,y,p\nabc\n", "is damaged or not an event recording"),
        ("a.aedat", "nonsense", "does not start with #!AER-DAT"),
    ],
)
def test_damaged_recordings_are_named(tmp_path, name, content, message):
    path = folder(tmp_path / "own", ".csv")
    (path / "Train" / "cup" / name).write_text(content)
    with pytest.raises(UserError, match=message):
        load(path, steps=60)


def test_plain_arrays_are_refused_and_no_pickle_is_read(tmp_path):
    path = folder(tmp_path / "own", ".npy")
    np.save(path / "Train" / "cup" / "rec_0.npy", np.zeros((5, 4), np.int64))
    with pytest.raises(UserError, match="so that the order of the columns is certain"):
        load(path, steps=60)
    np.save(path / "Train" / "cup" / "rec_0.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(UserError, match="damaged or not an event recording"):
        load(path, steps=60)


def test_a_run_is_evaluated_on_data_of_its_classes_only(tmp_path, capsys):
    """Labels number the classes of a folder: with other classes they would have another meaning."""
    words = [
        "--arch",
        "small_runs:TINY",
        "--epochs",
        "1",
        "--steps",
        "60",
        "--validation",
        "0",
        "--threads",
        "1",
    ]
    run = str(tmp_path / "run")
    assert cli.main(["train", "--data", str(folder(tmp_path / "own")), *words, "--out", run]) == 0
    assert cli.main(["evaluate", run, "--data", str(folder(tmp_path / "same", ".csv"))]) == 0
    capsys.readouterr()
    other = folder(tmp_path / "other", classes=("dog", "owl"))
    assert cli.main(["evaluate", run, "--data", str(other)]) == 2
    assert (
        "was trained for the classes cup, dog, but other has dog, owl; give data" in capsys.readouterr().err
    )


def test_folders_whose_classes_are_not_plain_are_refused(tmp_path):
    """class/user/file: the users are not classes."""
    for name in ("cup", "dog"):
        for user in ("anna", "bert"):
            write(tmp_path / "own" / name / user / "a.bin", corners(1))
    with pytest.raises(
        UserError, match="lie in folders of cup and of dog, so it is not clear which are the classes"
    ):
        load(tmp_path / "own", steps=60)
    folder(tmp_path / "one", classes=("cup",))
    with pytest.raises(UserError, match="all recordings are of the class 'cup'; give at least two"):
        load(tmp_path / "one", steps=60)
    np.savez(tmp_path / "own.npz", frames=np.zeros((4, 6, 8, 8), np.uint8), labels=np.arange(4) % 2)
    with pytest.raises(
        UserError, match=r"frames has shape \(4, 6, 8, 8\); frames are \(sample, time, channel"
    ):
        load(tmp_path / "own.npz")


def test_npz_files_of_frames(tmp_path):
    frames = np.random.default_rng(0).poisson(0.1, (12, 6, 2, 8, 8)).astype(np.uint8)
    labels = np.arange(12) % 2 + 1
    np.savez(tmp_path / "own.npz", frames=frames, labels=labels)
    own = load(tmp_path / "own.npz", validation=2)
    assert (own.events, own.train.steps, own.class_names, own.name) == (True, 6, ("1", "2"), "own")
    assert (len(own.train), len(own.test)) == (8, 2)
    np.savez(tmp_path / "two.npz", x_train=frames, y_train=labels, x_test=frames[:4], y_test=labels[:4])
    two = load(tmp_path / "two.npz")
    assert np.array_equal(two.train.take(slice(0, 2))[0].numpy(), frames[:2].transpose(1, 0, 2, 3, 4))
    assert two.test.labels.tolist() == [0, 1, 0, 1]
    with pytest.raises(UserError, match="come after the 3 time-steps"):
        load(tmp_path / "two.npz", steps=3)
    result = dalton.train(
        dalton.TrainConfig(
            dataset=str(tmp_path / "two.npz"),
            arch="small_runs:TINY",
            epochs=1,
            threads=1,
            out=tmp_path / "run",
        )
    )
    assert result.summary["steps"] == 6


def test_options_of_recordings_are_refused_for_others(tmp_path):
    path = folder(tmp_path / "own")
    for option, value in {
        "sensor": (9, 9), "time_unit": "ms", "denoise_us": 5, "spatial_factor": 0.5, "time_window": 99,
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=f"{option} is for event recordings; digits has none"):
            load("digits", **{option: value})
    for option, value in {"sensor": (9, 9), "time_unit": "ms"}.items():
        with pytest.raises(UserError, match=f"{option} is for own recordings in class folders"):
            load("digits-events", **{option: value})
    with pytest.raises(UserError, match="allow_loss is for own data"):
        load("digits", allow_loss=True)
    with pytest.raises(UserError, match="augment is for images"):
        load(path, augment=True)


def test_subsets_of_own_data_keep_every_class(tmp_path):
    """The published sets keep their choice; of own data a class with less than a sample's share gets one."""
    labels = np.repeat([0, 1, 2], [57, 2, 1])
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    np.savez(tmp_path / "own.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    for size in (3, 10, 40):
        own = load(tmp_path / "own.npz", train_size=size, test_size=size)
        assert np.bincount(own.train.labels).min() >= 1
        assert np.bincount(own.test.labels).min() >= 1
        assert len(own.train) == len(own.test) == size
    with pytest.raises(UserError, match="train_size is 2; give 3"):
        load(tmp_path / "own.npz", train_size=2)
    taken = [load(tmp_path / "own.npz", train_size=10, seed=seed).train.rows.tolist() for seed in (0, 0, 1)]
    assert taken[0] == taken[1] != taken[2]


def test_labels_of_images_that_count_from_1_are_said(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
    np.savez(
        tmp_path / "own.npz",
        x_train=images,
        y_train=np.arange(20) % 4 + 1,
        x_test=images,
        y_test=np.arange(20) % 4 + 1,
    )
    notes = load(tmp_path / "own.npz").notes
    assert any("1 of 5 classes have no training images (0)" in line for line in notes)
    np.savez(
        tmp_path / "dark.npz",
        x_train=images // 16,
        y_train=np.arange(20) % 4,
        x_test=images,
        y_test=np.arange(20) % 4,
    )
    with pytest.raises(UserError, match="dark train: the largest grey level is 15 of 255, nearly black"):
        load(tmp_path / "dark.npz")
    np.savez(
        tmp_path / "same.npz",
        x_train=images[[3] * 20],
        y_train=np.arange(20) % 4,
        x_test=images,
        y_test=np.arange(20) % 4,
    )
    assert any(
        "20 images of 1 x 8 x 8; all are the same" in line for line in load(tmp_path / "same.npz").notes
    )


def test_a_folder_of_nothing_known_is_named(tmp_path):
    (tmp_path / "own" / "train" / "a").mkdir(parents=True)
    (tmp_path / "own" / "train" / "a" / "x.mat").write_bytes(b"")
    with pytest.raises(
        UserError, match="holds neither images nor event recordings in class folders; expected train/"
    ):
        load(tmp_path / "own")
