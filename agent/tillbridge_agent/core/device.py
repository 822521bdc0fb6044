"""The structs of a device: its port and its protocol; and what is wrong with one beyond its types."""

from collections.abc import Sequence, Set
from pathlib import PurePath
from typing import Annotated

import msgspec

from tillbridge_agent.core.feed import FeedName
from tillbridge_agent.devices import ProtocolConfig


class PortConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A serial port; `path` is a device file, "COM3", or "usb:VID:PID" or "usb:VID:PID:SERIAL" (hex ids).

    `line` is data bits, parity (N, E, O, M, S) and stop bits.
    """

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    baud: Annotated[int, msgspec.Meta(ge=50, le=4_000_000)] = 9600
    line: Annotated[str, msgspec.Meta(pattern=r"^[78][NEOMS][12]\Z")] = "8N1"


class DeviceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One device with a name; `numbering` is whose item numbers its labels show."""

    name: FeedName
    numbering: FeedName = "main"
    port: PortConfig
    protocol: ProtocolConfig

    @property
    def type(self) -> str:
        """The kind of its protocol."""
        return type_of(self.protocol)


def type_of(protocol: ProtocolConfig) -> str:
    """The name of a protocol in DEVICES."""
    return str(type(protocol).__struct_config__.tag)


def check_devices(devices: Sequence[DeviceConfig], feeds: Set[str]) -> list[tuple[str, str, str]]:
    """What is wrong with the devices of an agent that has these feeds: (key, message, hint) of each fault."""
    found, names, ports = [], set(feeds), set()
    for number, device in enumerate(devices):
        at = f"devices[{number}]."
        if device.name in names:
            found.append((f"{at}name", f"A feed or another device is named {device.name!r} too.",
                          "Scans travel under the name of their device: give it one of its own."))
        if device.port.path in ports:
            found.append((f"{at}port.path", f"Two devices are said to be at {device.port.path!r}.",
                          "One port has one device; look which is which."))
        names.add(device.name)
        ports.add(device.port.path)
        found += [(at + key, message, hint) for key, message, hint in faults(device)]
    return found


def placed(device: DeviceConfig, folder: PurePath) -> DeviceConfig:
    """The device with a relative path of its port made absolute; links stay, because they name a port for good."""
    path = device.port.path
    if "/" not in path or PurePath(path).is_absolute() or path.startswith("usb:"):
        return device
    return msgspec.structs.replace(device, port=msgspec.structs.replace(device.port, path=str(folder / path)))


def faults(device: DeviceConfig) -> list[tuple[str, str, str]]:
    """What decoding by type alone cannot see: (key, message, hint) of each fault, keys dotted from the device."""
    found = [(f"protocol.{key}", message, hint) for key, message, hint in device.protocol.faults()]
    if device.port.path.startswith("usb:") and usb_ids(device.port.path) is None:
        found.append(("port.path", f"{device.port.path!r} names no USB device.",
                      'Write the hex numbers of maker and model, and the serial number: "usb:05f9:4204:S123".'))
    return found


def usb_ids(path: str) -> tuple[int, int, str | None] | None:
    """Vendor, product and serial number of a "usb:" path; None when it is none."""
    kind, *ids = path.split(":", 3)
    try:
        vendor, product = int(ids[0], 16), int(ids[1], 16)
    except (IndexError, ValueError):
        return None
    return (vendor, product, ids[2] if len(ids) > 2 else None) if kind == "usb" else None
