"""Import formats: a web order becomes a file the till imports, and its answers are read. One folder per format.

Everything in here but `place.py` is pure.
"""

from collections.abc import Callable
from typing import NamedTuple

from tillbridge_agent.errors import Unwritable
from tillbridge_agent.imports import csv
from tillbridge_agent.imports.answers import read_answers
from tillbridge_agent.imports.config import AnswersConfig
from tillbridge_agent.imports.results import Answer, AnswerProblem, Rendered
from tillbridge_protocol.orders import Order

__all__ = [
    "IMPORTS", "Answer", "AnswerProblem", "AnswersConfig", "Import", "OrdersConfig", "Rendered", "Unwritable",
    "read_answers", "render",
]

#: The `orders` table of agent.toml, told apart by its `format`.
OrdersConfig = csv.CsvConfig


class Import(NamedTuple):
    """One import format: the struct of its table, and what writes an order as this table says."""

    config_type: type[csv.CsvConfig]
    render: Callable[..., Rendered]


IMPORTS: dict[str, Import] = {
    "csv": Import(csv.CsvConfig, csv.render),
}


def render(config: OrdersConfig, order: Order, *, sequence: int) -> Rendered:
    """The import file of an order; `sequence` is its file number. Raises Unwritable: the order is then rejected."""
    kind = str(type(config).__struct_config__.tag)
    return IMPORTS[kind].render(config, order, sequence=sequence)
