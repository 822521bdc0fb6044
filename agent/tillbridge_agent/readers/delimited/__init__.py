"""The delimited format: one row per line, cells split by a separator."""

from tillbridge_agent.readers.delimited.config import DelimitedConfig
from tillbridge_agent.readers.delimited.reader import DelimitedReader

__all__ = ["DelimitedConfig", "DelimitedReader"]
