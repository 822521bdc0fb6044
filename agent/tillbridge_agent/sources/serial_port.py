"""Serial ports behind a narrow interface: open, read what is there, write, close; every trouble in plain words."""

import contextlib
import errno
import sys
from typing import Any, Protocol

import serial
from serial.tools import list_ports

from tillbridge_agent.core.device import PortConfig, usb_ids
from tillbridge_agent.errors import TryLater

#: How long a read waits for the first byte: bounds how late a stop is noticed.
READ_WAIT_S = 0.25
#: A scanner that does not take our few bytes within this time is gone.
WRITE_WAIT_S = 2.0
READ_BYTES_MAX = 4096
_MISSING = {errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EIO}
_BUSY = {errno.EBUSY, errno.EAGAIN}
_DENIED = {errno.EACCES, errno.EPERM}


class PortTrouble(TryLater):
    """A port that cannot be opened (port_missing, port_busy, port_denied, port_settings) or went away (port_gone)."""


class Port(Protocol):
    """An open port; each call raises PortTrouble `port_gone` when it has gone away."""

    def read(self) -> bytes:
        """What is there; waits READ_WAIT_S for a first byte, and gives nothing when none comes."""
        ...

    def waiting(self) -> bytes:
        """What is there already, without waiting."""
        ...

    def write(self, data: bytes) -> None:
        """Send; returns when the system has taken the bytes."""
        ...

    def close(self) -> None:
        """Let the port go."""
        ...


def open_port(config: PortConfig) -> Port:
    """Open the port as configured, keeping what it has received already. Raises PortTrouble."""
    name = find_port(config.path)
    line = _KeepingSerial()
    line.port, line.baudrate = name, config.baud
    line.bytesize, line.parity, line.stopbits = int(config.line[0]), config.line[1], int(config.line[2])
    line.timeout, line.write_timeout = READ_WAIT_S, WRITE_WAIT_S
    line.exclusive = True  # two readers would each get half of every label
    try:
        line.open()
    except Exception as error:  # termios.error is no OSError, and not on every system
        raise _trouble(config.path, error) from error
    return _SerialPort(config.path, line)


def find_port(path: str) -> str:
    """The port a path means now: of "usb:VID:PID[:SERIAL]" the one this device has got. Raises PortTrouble."""
    ids = usb_ids(path)
    if ids is None:
        return path
    vendor, product, number = ids
    for port in list_ports.comports():
        if (port.vid, port.pid) == (vendor, product) and number in (None, port.serial_number):
            return str(port.device)
    raise PortTrouble(f"No USB device {path} is connected.", "Plug it in; it is found again by itself.",
                      code="port_missing")


class _KeepingSerial(serial.Serial):  # type: ignore[misc]
    """pyserial throws away what came before the port was opened; a label that waits there must not be lost."""

    def open(self) -> None:
        self._opening = True
        try:
            super().open()
        finally:
            self._opening = False

    def _reset_input_buffer(self) -> None:
        if not self._opening:
            super()._reset_input_buffer()


class _SerialPort:
    """A Port over pyserial."""

    def __init__(self, path: str, line: Any) -> None:
        self._path, self._line = path, line

    def read(self) -> bytes:
        try:
            first: bytes = self._line.read(1)
        except (OSError, TypeError) as error:  # TypeError: closed under a read
            raise _gone(self._path, error) from error
        with contextlib.suppress(OSError, TypeError):  # what is read counts; that it is gone tells the next call
            first += self._there() if first else b""
        return first

    def waiting(self) -> bytes:
        try:
            return self._there()
        except (OSError, TypeError) as error:
            raise _gone(self._path, error) from error

    def write(self, data: bytes) -> None:
        try:
            self._line.write(data)
        except OSError as error:
            raise _gone(self._path, error) from error

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._line.close()

    def _there(self) -> bytes:
        count = min(self._line.in_waiting, READ_BYTES_MAX)
        return bytes(self._line.read(count)) if count else b""


def _gone(path: str, error: Exception) -> PortTrouble:
    return PortTrouble(f"The device at {path} has gone away ({_words(error)}).",
                       "Plug it in again; it is opened by itself.", code="port_gone")


def _trouble(path: str, error: Exception) -> PortTrouble:
    """Why a port cannot be opened. On Windows the driver's words are all there is."""
    number, said = getattr(error, "errno", None), str(error)
    if number in _MISSING or "FileNotFoundError" in said:
        return PortTrouble(f"There is no device at {path}.",
                           "Is it plugged in and switched on? It is looked for again by itself.", code="port_missing")
    if number in _BUSY or (sys.platform == "win32" and "PermissionError" in said):
        return PortTrouble(f"Another program uses {path}.", "End that program, or give the device to it alone.",
                           code="port_busy")
    if number in _DENIED:
        return PortTrouble(f"This account may not use {path}.",
                           "Add the agent's account to the group that may (dialout on most Linux systems, uucp on "
                           "some), and start the agent anew.", code="port_denied")
    return PortTrouble(f"{path} cannot be set up: {_words(error)}.",
                       "Compare baud and line with the scanner's settings; not every adapter knows every speed.",
                       code="port_settings")


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
