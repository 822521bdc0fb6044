"""Scanners that send each label as a line of text: a prefix, perhaps an AIM id, the label, a suffix."""

from tillbridge_agent.devices.line_scanner.config import LineScannerConfig
from tillbridge_agent.devices.line_scanner.protocol import LineScanner

__all__ = ["LineScanner", "LineScannerConfig"]
