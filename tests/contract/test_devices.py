"""One suite for every device protocol: its sample loads, and portions of any size give the same events."""

import tomllib
from importlib.resources import files

import msgspec
import pytest

from tillbridge_agent.devices import DEVICES, Event, Noise, ProtocolConfig, Scanned, open_device

#: Bytes each protocol reads with its sample's own settings: two events, noise between them, and half of a third.
STREAMS: dict[str, bytes] = {
    "line_scanner": b"7612345000003\r\x00\xff4012345000009\r\n7612",
}
TEXTS: dict[str, list[str]] = {"line_scanner": ["7612345000003", "4012345000009"]}


def sample(name: str) -> ProtocolConfig:
    """The protocol table of a device's sample.toml."""
    text = (files(f"tillbridge_agent.devices.{name}") / "sample.toml").read_text(encoding="utf-8")
    config: ProtocolConfig = msgspec.convert(tomllib.loads(text), ProtocolConfig)
    return config


def read(name: str, size: int) -> list[Event]:
    """Every event of the stream, fed in portions of `size` bytes, and what the end of the line leaves."""
    device = open_device(sample(name))
    data = STREAMS[name]
    events = [event for start in range(0, len(data), size) for event in device.feed(data[start : start + size], 1.0)]
    return events + device.cut()


def test_every_protocol_has_a_stream_here() -> None:
    """Adding a protocol means adding a stream to this suite."""
    assert STREAMS.keys() == TEXTS.keys() == DEVICES.keys()


@pytest.mark.parametrize("name", sorted(DEVICES))
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_portions_do_not_matter(name: str, size: int) -> None:
    """Whole, byte by byte, and anything between."""
    events = read(name, size)
    assert events == read(name, 10_000)
    assert [event.text for event in events if isinstance(event, Scanned)] == TEXTS[name]
    assert [event.reason for event in events if isinstance(event, Noise)] == ["line", "half"]


@pytest.mark.parametrize("name", sorted(DEVICES))
def test_time_that_passes_is_no_event(name: str) -> None:
    """An idle device says nothing, however long."""
    device = open_device(sample(name))
    assert device.feed(b"", 1.0) + device.feed(b"", 1e6) + device.cut() == []
    assert isinstance(device.ack, bytes)
    assert isinstance(device.nak, bytes)
