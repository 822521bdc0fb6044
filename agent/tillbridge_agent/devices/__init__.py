"""Device protocols: bytes in any portions become events, and bytes to send. One folder each, in one literal dict."""

from typing import Protocol

from tillbridge_agent.devices.events import NOISE_WORDS, Event, Noise, Scanned
from tillbridge_agent.devices.line_scanner import LineScanner, LineScannerConfig

__all__ = ["DEVICES", "NOISE_WORDS", "DeviceProtocol", "Event", "Noise", "ProtocolConfig", "Scanned", "open_device"]

#: The `protocol` table of a device, told apart by its `type`.
ProtocolConfig = LineScannerConfig


class DeviceProtocol(Protocol):
    """Folds the bytes of one opening of a port. `now` is seconds on a clock that never goes back."""

    #: Sent when a scan is kept; empty where the device does not wait for an answer.
    ack: bytes
    #: Sent when a label came damaged; empty where the device knows none.
    nak: bytes

    def feed(self, data: bytes, now: float) -> list[Event]:
        """The events that are complete with these further bytes; with none, what the mere passing of time ends."""
        ...

    def cut(self) -> list[Event]:
        """What was left half when the port went away; the fold then begins anew."""
        ...


DEVICES: dict[str, type[LineScanner]] = {
    "line_scanner": LineScanner,
}


def open_device(config: ProtocolConfig) -> DeviceProtocol:
    """The fold for one opening of a port."""
    return DEVICES[str(type(config).__struct_config__.tag)](config)
