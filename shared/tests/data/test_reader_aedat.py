"""AEDAT according to its versions: the meaning of an address, and which words and packets are not pixels."""

import struct

import numpy as np
import pytest
from made_files import aedat2
from reprokit import UserError
from reprokit.readers import aedat
from reprokit.readers.aedat import read_aedat

V3 = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"
V2 = b"#!AER-DAT2.0\r\n"
DVS128 = b"# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n"


def packet(words, *, kind=1, source=1, size=8, stamp=4, overflow=0, capacity=None, room=0):
    count = len(words) // size
    header = (kind, source, size, stamp, overflow, count if capacity is None else capacity, count, count)
    return struct.pack("<HHIIIIII", *header) + words + bytes(size * room)


def polarity(*events, valid=1):
    """Words of (t, x, y, p)."""
    return b"".join(struct.pack("<II", x << 17 | y << 2 | p << 1 | valid, t) for t, x, y, p in events)


def pairs(*words):
    """Address and time of version 2."""
    return b"".join(struct.pack(">II", *word) for word in words)


def read(folder, body, *arguments, **options):
    (folder / "a.aedat").write_bytes(body)
    return [column.tolist() for column in read_aedat(folder / "a.aedat", *arguments, **options)]


def test_addresses_of_version_3(tmp_path):
    body = V3 + packet(polarity((7, 100, 90, 1), (9, 0, 127, 0)))
    assert read(tmp_path, body) == read(tmp_path, body, "gesture") == [[7, 9], [100, 0], [90, 127], [1, 0]]
    assert read(tmp_path, body, start="first-event")[0] == [0, 2]
    upwards = b"#!AER-DAT3.0\r\n" + packet(polarity((7, 100, 90, 1)))
    assert read(tmp_path, upwards) == [[7], [100], [37], [1]]
    wide = V3 + packet(polarity((7, 16000, 90, 1)))
    assert read(tmp_path, wide, sensor=(100, 20000))[1] == [16000]


def test_events_marked_invalid_are_left_out(tmp_path):
    body = V3 + packet(polarity((1, 1, 1, 1)) + polarity((2, 2, 2, 1), valid=0) + polarity((3, 3, 3, 0)))
    assert read(tmp_path, body) == [[1, 3], [1, 3], [1, 3], [1, 0]]
    with pytest.raises(UserError, match="holds no events"):
        read(tmp_path, V3 + packet(polarity((2, 2, 2, 1), valid=0)))


@pytest.mark.parametrize(("kind", "size"), [(0, 8), (2, 50), (3, 36), (5, 12)])
def test_packets_of_other_events_are_skipped(tmp_path, kind, size):
    other = packet(bytes(range(size)) * 2, kind=kind, size=size, stamp=4)
    body = V3 + other + packet(polarity((1, 1, 1, 1))) + other + packet(polarity((2, 5, 1, 1))) + other
    assert read(tmp_path, body)[:2] == [[1, 2], [1, 5]]
    with pytest.raises(UserError, match="holds no polarity events"):
        read(tmp_path, V3 + other)


def test_time_continues_after_the_stamp_has_overflowed(tmp_path):
    late = 2**31 - 1
    body = V3 + packet(polarity((late, 1, 1, 1))) + packet(polarity((4, 2, 1, 1)), overflow=1)
    body += packet(polarity((5, 2, 1, 1)), overflow=3)
    assert read(tmp_path, body)[0] == [late, 2**31 + 4, 3 * 2**31 + 5]


def test_a_packet_may_have_room_for_more_events_written_or_not(tmp_path):
    first, second = polarity((1, 1, 1, 1)), polarity((2, 2, 1, 1), (3, 3, 1, 1))
    unwritten = V3 + packet(first, capacity=5) + packet(second, capacity=4)
    written = V3 + packet(first, capacity=5, room=4) + packet(second, capacity=4, room=2)
    assert (
        read(tmp_path, unwritten) == read(tmp_path, written) == [[1, 2, 3], [1, 2, 3], [1, 1, 1], [1, 1, 1]]
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (packet(polarity((1, 1, 1, 1)))[:20], "cut in the header of packet 0 at byte"),
        (packet(polarity((1, 1, 1, 1)))[:-3], "cut in packet 0, 3 bytes are missing"),
        (b"", "cut in the header of packet 0"),
        (packet(polarity((1, 1, 1, 1)), capacity=0), "the header of packet 0 at byte .* cannot be one"),
        (
            struct.pack("<hhiiiiii", 1, -1, 8, 4, 0, 0, 0, 0),
            "the header of packet 0 at byte .* cannot be one",
        ),
        (struct.pack("<hhiiiiii", 1, 1, 0, 4, 0, 0, 0, 0), "the header of packet 0 at byte .* cannot be one"),
        (packet(bytes(24), size=12), "polarity events of 12 bytes, time at byte 4"),
        (packet(polarity((1, 1, 1, 1)), stamp=0), "polarity events of 8 bytes, time at byte 0"),
        (packet(polarity((1, 200, 1, 1))), "event 0 is at x=200, y=1; allowed: x below 128"),
        (packet(b"\xff" * 8), "x=32767, y=32767"),
        (packet(polarity((9, 1, 1, 1), (8, 1, 1, 1))), "event 1 at 8 us runs back in time"),
        (
            packet(polarity((1, 1, 1, 1))) + packet(polarity((1, 1, 1, 1)), source=2),
            r"holds events of 2 cameras \(sources 1, 2\)",
        ),
    ],
)
def test_malformed_version_3(tmp_path, body, words):
    with pytest.raises(UserError, match=words):
        read(tmp_path, V3 + body)


def test_the_dvs128_is_read_as_jaer_reads_it(tmp_path):
    """x from the right, rows counted upwards there and downwards here, ON where bit 0 is 0."""
    body = V2 + DVS128 + pairs((100 << 8 | 90 << 1 | 1, 7), (0, 8), (127 << 8 | 127 << 1, 9))
    expected = [[7, 8, 9], [127 - 90, 127, 0], [127 - 100, 127, 0], [0, 1, 1]]
    assert read(tmp_path, body, "dvs128") == read(tmp_path, body) == expected
    (tmp_path / "b.aedat").write_bytes(aedat2())
    assert {column.dtype for column in read_aedat(tmp_path / "b.aedat")} == {
        np.dtype(t) for t in ("i8", "i2", "i1")
    }


def test_special_words_of_version_2_are_skipped(tmp_path):
    body = V2 + pairs((1 << 15 | 5, 1), (2, 2), (1 << 31, 3), (4, 4))
    assert read(tmp_path, body)[0] == [2, 4]
    with pytest.raises(UserError, match="holds no events"):
        read(tmp_path, V2 + pairs((1 << 15, 1)))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            b"# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n",
            "is of the chip eu.seebetter.ini.chips.davis.DAVIS240C",
        ),
        (
            b"# AEChip: DAVI346\r\n",
            "is of the chip DAVI346, and version 2 is read of the DVS128 only; convert it",
        ),
        (b"", "event 1 has the address 0x2c1a800, which no DVS128 writes"),
        (DVS128, "event 1 has the address 0x2c1a800"),
    ],
)
def test_other_chips_are_refused(tmp_path, lines, words):
    davis = pairs((5, 0), (11 << 22 | 26 << 12 | 1 << 11, 1))
    with pytest.raises(UserError, match=words):
        read(tmp_path, V2 + lines + davis)


def test_an_event_that_begins_like_a_header_line_is_an_event(tmp_path):
    """The first byte of an address, or of a packet, may be a #, and the end of the line may come later."""
    body = pairs((0x23000000 | 1, 0x0A0A), (1, 2))
    with pytest.raises(UserError, match="event 0 has the address 0x23000001"):
        read(tmp_path, V2 + b"# a comment\r\n" + body)
    kind = struct.pack("<H", 0x23) + packet(bytes(8))[2:]  # packets of an unknown kind come first
    assert read(tmp_path, b"#!AER-DAT3.0\r\n" + kind + packet(polarity((10, 1, 1, 1))))[0] == [10]
    text = b"#End Of ASCII Header\r\n" + pairs((2, 5))
    assert read(tmp_path, V2 + text)[0] == [5]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (aedat2()[:-3], "not a whole number of 8-byte events"),
        (V2, "0 bytes are not a whole number"),
        (b"not an event file at all", "does not start with #!AER-DAT"),
        (V2 + pairs((0, 9), (0, 8)), "event 1 at 8 us runs back"),
        (b"#!AER-DAT4.0\r\n" + bytes(100), "damaged or not an AEDAT file"),
        (
            b"#!AER-DAT1.0\r\n" + bytes(6),
            "version 1 of the format is not read; convert it to version 2, 3 or 4",
        ),
    ],
)
def test_malformed_aedat(tmp_path, body, words):
    with pytest.raises(UserError, match=words):
        read(tmp_path, body)


def test_options_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(UserError, match="is of version 2, layout gesture is of version 3; leave it out"):
        read(tmp_path, V2 + pairs((0, 1)), "gesture")
    with pytest.raises(UserError, match="layout must be one of dvs128, gesture, got 'davis'"):
        read(tmp_path, V2, "davis")
    with pytest.raises(UserError, match="start is 'now'; it must be one of zero, first-event"):
        read(tmp_path, V2, start="now")


def test_the_clock_of_version_4_may_begin_with_the_first_event(tmp_path, monkeypatch):
    columns = (np.array([10**15, 10**15 + 5]), np.array([1, 2]), np.array([3, 4]), np.array([1, 0]))
    monkeypatch.setattr(aedat, "_read_version_4", lambda path: columns)
    body = b"#!AER-DAT4.0\r\n"
    assert read(tmp_path, body)[0] == [10**15, 10**15 + 5]
    assert read(tmp_path, body, start="first-event")[0] == [0, 5]
