"""Framing of line scanners: what is a label, what is noise, and that portions of any size give the same events."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillbridge_agent.devices import NOISE_WORDS, Noise, Scanned
from tillbridge_agent.devices.line_scanner import LineScanner, LineScannerConfig

CR, STX = "\r", "\x02"


def fold(**otherwise: Any) -> LineScanner:
    """A fold of this configuration."""
    return LineScanner(LineScannerConfig(**otherwise))


def said(events: list[Any]) -> list[Any]:
    """Events in short: the text of a label, (reason, bytes) of noise."""
    return [
        (event.symbology, event.text) if isinstance(event, Scanned) and event.symbology else
        event.text if isinstance(event, Scanned) else (event.reason, event.count)
        for event in events
    ]


@pytest.mark.parametrize(
    ("otherwise", "data", "events"),
    [
        ({}, b"7612345000003\r4012345000009\r", ["7612345000003", "4012345000009"]),
        ({}, b"7612345000003\r\n4012345000009\r\n", ["7612345000003", "4012345000009"]),
        ({"suffix": "\r\n"}, b"76\r\n40\r\n", ["76", "40"]),
        ({"suffix": "\n"}, b"76\r\n40\r\n", ["76", "40"]),
        ({"suffix": "\t"}, b"76\t40\t", ["76", "40"]),
        ({"prefix": STX, "suffix": "\x03"}, b"\x0276\x03\x0240\x03", ["76", "40"]),
        ({"prefix": "S08F", "suffix": CR}, b"S08F7612345000003\rS08F40S08F12\r", ["7612345000003", "40S08F12"]),
        ({"aim": True}, b"]E07612345000003\r]C101761234500000310A\r",
         [("]E0", "7612345000003"), ("]C1", "01761234500000310A")]),
        ({}, b"]E07612345000003\r", ["]E07612345000003"]),
        ({"aim": True}, b"]d201076123\x1d10AB\r", [("]d2", "01076123\x1d10AB")]),
        ({"aim": True, "separator": "~"}, b"]d201076123~10AB\r", [("]d2", "01076123\x1d10AB")]),
        ({}, "Käse\r".encode(), ["Käse"]),
        ({"encoding": "cp1252"}, "Käse\r".encode("cp1252"), ["Käse"]),
        ({}, b"\r\r\n\r", []),
        # -- noise
        ({"aim": True}, b"5000003\r]E07612345000003\r", [("aim_missing", 7), ("]E0", "7612345000003")]),
        ({"aim": True}, b"]E0\r", [("short", 3)]),
        ({"prefix": STX}, b"5000003\r\x027612\r", [("no_prefix", 8), "7612"]),
        ({"prefix": STX}, b"\x02761\x027612\r", [("half", 4), "7612"]),
        ({"prefix": STX}, b"\x02\x02\x027612\r", ["7612"]),
        ({}, b"\x00\xff\x007612\r", [("line", 3), "7612"]),
        ({}, b"761\x00\x007612\r", [("line", 5), "7612"]),
        ({"length_min": 8}, b"7612\r76123456\r", [("short", 4), "76123456"]),
        ({"length_max": 6}, b"7612345\r761234\r", [("long", 7), "761234"]),
        ({"length_max": 6}, b"76123456789012345\r761234\r", [("long", 10), "761234"]),
        ({"length_max": 6, "prefix": STX}, b"\x0276123456789012345\r\x02761234\r",
         [("long", 11), ("no_prefix", 8), "761234"]),
        ({}, b"76\x0212\r7612\r", [("text", 5), "7612"]),
        ({}, b"K\xe4se\r7612\r", [("text", 4), "7612"]),
    ],
)
def test_frames(otherwise: dict[str, Any], data: bytes, events: list[Any]) -> None:
    """Usual framings, and what is wrong with a frame."""
    assert said(fold(**otherwise).feed(data, 1.0)) == events


def test_a_pause_inside_a_label_loses_its_rest() -> None:
    """Half a label, then nothing for longer than a label takes: what comes next is another one."""
    scanner = fold(gap_ms=100)
    assert said(scanner.feed(b"76123", 0.0)) == []
    assert said(scanner.feed(b"", 0.09)) == []
    assert said(scanner.feed(b"", 0.11)) == [("half", 5)]
    assert said(scanner.feed(b"4012\r", 0.12)) == ["4012"]
    assert said(scanner.feed(b"76123", 0.2) + scanner.feed(b"4012\r", 1.0)) == [("half", 5), "4012"]
    assert said(scanner.feed(b"761", 2.0) + scanner.feed(b"2\r", 2.05)) == ["7612"]


def test_without_a_suffix_a_silence_ends_the_label() -> None:
    """Scanners that send nothing behind a label."""
    scanner = fold(suffix="", gap_ms=100)
    assert said(scanner.feed(b"7612", 0.0) + scanner.feed(b"345", 0.05)) == []
    assert said(scanner.feed(b"", 0.2)) == ["7612345"]
    marked = fold(prefix=STX, suffix="", gap_ms=100)
    assert said(marked.feed(b"\x0276\x0240", 0.0) + marked.feed(b"", 0.2)) == ["76", "40"]


def test_too_long_without_a_suffix_is_noise_until_the_silence() -> None:
    """The rest of an endless line is no label."""
    scanner = fold(suffix="", gap_ms=100, length_max=6)
    assert said(scanner.feed(b"761234567890123", 0.0) + scanner.feed(b"", 0.2)) == [("long", 9)]
    assert said(scanner.feed(b"7612", 0.3) + scanner.feed(b"", 0.5)) == ["7612"]


def test_the_unplugged_cable_leaves_a_half_label() -> None:
    """It is told, and the next opening begins anew."""
    scanner = fold()
    assert said(scanner.feed(b"7612\r401", 0.0)) == ["7612"]
    assert said(scanner.cut()) == [("half", 3)]
    assert scanner.cut() == []
    assert said(scanner.feed(b"4012\r", 0.1)) == ["4012"]


def test_a_stammer_is_told_only_where_it_is_asked_for() -> None:
    """The same label again: two pieces by default, a stammer within `repeat_ms`."""
    twice = b"7612\r7612\r"
    assert [event.again for event in fold().feed(twice, 0.0) if isinstance(event, Scanned)] == [False, False]
    scanner = fold(repeat_ms=300)
    events = scanner.feed(twice, 0.0) + scanner.feed(b"7612\r", 0.3) + scanner.feed(b"7612\r", 0.7)
    assert [event.again for event in events if isinstance(event, Scanned)] == [False, True, True, False]
    other = scanner.feed(b"4012\r7612\r", 0.8)
    assert [event.again for event in other if isinstance(event, Scanned)] == [False, False]


def test_a_label_tells_when_it_began_and_its_bytes() -> None:
    """What a handshake needs to know, and the evidence."""
    scanner = fold(prefix=STX, aim=True)
    scanner.feed(b"\x02]E07", 1.0)
    (event,) = scanner.feed(b"612\r", 1.2)
    assert event == Scanned("7612", "]E0", b"]E07612", 1.0)


CONFIGS = st.sampled_from([
    LineScannerConfig(), LineScannerConfig(prefix=STX), LineScannerConfig(prefix=STX, suffix="\x03"),
    LineScannerConfig(suffix="\r\n", aim=True), LineScannerConfig(prefix="AB", length_max=6),
    LineScannerConfig(prefix="\x02\x02", suffix="\x03\x03", repeat_ms=100), LineScannerConfig(suffix="", length_max=9),
    LineScannerConfig(prefix="AAB", suffix="BA", length_max=5),
])
#: Few different bytes, so that marks, labels and noise meet often.
STREAMS = st.lists(
    st.sampled_from([b"\r", b"\n", b"\x02", b"\x03", b"\x00", b"\xff", b"A", b"B", b"]E0", b"7612", b"\x1d", b"\xe4"]),
    max_size=60,
).map(b"".join)


@given(config=CONFIGS, data=STREAMS, cuts=st.lists(st.integers(0, 200), max_size=12))
def test_any_portions_give_the_same_events(config: LineScannerConfig, data: bytes, cuts: list[int]) -> None:
    """One read, byte by byte, and anything between."""
    whole = LineScanner(config)
    expected = [*whole.feed(data, 1.0), *whole.cut()]
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = LineScanner(config)
    events = [event for start, end in pairwise(edges) for event in parts.feed(data[start:end], 1.0)]
    assert events + parts.cut() == expected
    assert all(event.reason in NOISE_WORDS for event in expected if isinstance(event, Noise))


LABEL = st.text("0123456789ABab-", min_size=1, max_size=20)


@given(noise=STREAMS, label=LABEL, aim=st.booleans())
def test_noise_never_swallows_the_next_frame(noise: bytes, label: str, aim: bool) -> None:
    """A prefix with a control character, NUL bytes, or a silence: behind it the label is whole."""
    body = f"]E0{label}" if aim else label
    marked = LineScanner(LineScannerConfig(prefix=STX, aim=aim))
    events = marked.feed(noise + f"\x02{body}\r".encode(), 1.0)
    assert said(events)[-1] == (("]E0", label) if aim else label)
    bare = LineScanner(LineScannerConfig(aim=aim))
    events = bare.feed(noise + b"\0" + f"{body}\r".encode(), 1.0)
    assert said(events)[-1] == (("]E0", label) if aim else label)
    events = bare.feed(noise, 2.0) + bare.feed(f"{body}\r".encode(), 3.0)
    assert said(events)[-1] == (("]E0", label) if aim else label)


@given(labels=st.lists(LABEL, max_size=10), config=CONFIGS.filter(lambda config: config.suffix))
def test_clean_frames_are_all_there(labels: list[str], config: LineScannerConfig) -> None:
    """What a good cable brings comes out as it was scanned."""
    marks = (config.prefix, config.suffix)
    labels = [label for label in labels if len(label) <= config.length_max and not set("AB") & set(label)]
    aim = "]E0" if config.aim else ""
    data = "".join(f"{marks[0]}{aim}{label}{marks[1]}" for label in labels).encode()
    events = LineScanner(config).feed(data, 1.0)
    assert [event.text for event in events if isinstance(event, Scanned)] == labels
    assert len(events) == len(labels)


@pytest.mark.parametrize(
    ("otherwise", "key"),
    [
        ({"prefix": CR, "suffix": CR}, "prefix"), ({"prefix": "\n", "suffix": "\r\n"}, "prefix"),
        ({"suffix": "\0"}, "suffix"), ({"length_min": 9, "length_max": 8}, "length_min"), ({"nak": "\x15"}, "nak"),
        ({"encoding": "none-such"}, "encoding"), ({"encoding": "base64"}, "encoding"),
    ],
)
def test_faults(otherwise: dict[str, Any], key: str) -> None:
    """What cannot work is said with its key."""
    assert [fault[0] for fault in LineScannerConfig(**otherwise).faults()] == [key]
    assert LineScannerConfig().faults() == []
