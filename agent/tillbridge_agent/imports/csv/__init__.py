"""The csv import format: an order as header, line and trailer records with separated columns."""

from tillbridge_agent.imports.csv.config import CsvConfig
from tillbridge_agent.imports.csv.render import render

__all__ = ["CsvConfig", "render"]
