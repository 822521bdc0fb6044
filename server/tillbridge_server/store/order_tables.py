"""The tables of web orders, with what each row means: orders, lines, steps, sales, and the shop window's own book."""

from sqlalchemy import Column, Index, Table, UniqueConstraint

from tillbridge_server.store.tables import metadata
from tillbridge_server.store.types import DecimalType, InstantType, Integer, String, Text

web_order = Table(
    "web_order", metadata,  # one order of one storefront; its id is our number, under which the till sells it
    Column("id", String, primary_key=True),
    Column("storefront", String, nullable=False),
    Column("number", String, nullable=False),  # the storefront's own number
    Column("position", Integer, nullable=False),  # where it stands in the storefront's sequence of orders
    Column("revision", Integer, nullable=False),
    Column("sent_revision", Integer, nullable=False),  # the latest one that lies in an agent's mailbox, 0 for none
    Column("state", String, nullable=False),  # of protocol/orders.STATES
    Column("state_at", InstantType, nullable=False),
    Column("location_id", String),
    Column("agent_id", String),
    Column("placed_at", InstantType, nullable=False),
    Column("taken_in_at", InstantType, nullable=False),
    Column("currency", String, nullable=False),
    Column("shopper", Text, nullable=False),  # JSON Shopper: personal data
    Column("code", String),  # why it is in this state, as a code and in words
    Column("message", Text),
    Column("received_epoch", String),  # the agent's epoch in which `received` was first reported for this revision
    Column("sequence", Integer),
    Column("file", String),
    UniqueConstraint("storefront", "number", name="web_order_number"),
    Index("web_order_state", "state", "state_at"),
    Index("web_order_agent", "agent_id", "state"),
)
order_line = Table(
    "order_line", metadata,
    Column("order_id", String, primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("variant_id", String, nullable=False),
    Column("quantity", DecimalType, nullable=False),
    Column("unit_price", DecimalType, nullable=False),
    Column("title", Text),
    Index("order_line_variant", "variant_id"),
)
order_step = Table(
    "order_step", metadata,  # append-only: every step of every order, and reports that moved nothing (before = after)
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("order_id", String, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("at", InstantType, nullable=False),
    Column("event", String, nullable=False),
    Column("before", String, nullable=False),
    Column("after", String, nullable=False),
    Column("by", String, nullable=False),  # server, agent <id>, or a person
    Column("message", Text, nullable=False),
    Column("told_id", String),  # the id of the agent's order_state, so that a repeat is no second step
    Index("order_step_of", "order_id", "n"),
    UniqueConstraint("order_id", "told_id", name="order_step_told"),
)
order_sale = Table(
    "order_sale", metadata,  # sale lines that carry one of our order numbers: half of the proof that releases stock
    Column("location_id", String, primary_key=True),
    Column("sale_id", String, primary_key=True),  # the ledger's id
    Column("order_id", String, nullable=False),
    Column("feed", String, nullable=False),
    Column("variant_id", String),  # None: a code that is linked to nothing
    Column("quantity", DecimalType, nullable=False),
    Column("at", InstantType, nullable=False),
    Column("captured_at", InstantType),
    Column("applied_at", InstantType, nullable=False),
    Index("order_sale_of", "order_id"),
)
order_cursor = Table(
    "order_cursor", metadata,  # how far a storefront's orders have been taken in
    Column("storefront", String, primary_key=True),
    Column("position", Integer, nullable=False),
)
window_order = Table(
    "window_order", metadata,  # the shop window's own book of orders; only its connector and page write here
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("storefront", String, nullable=False),
    Column("number", String, nullable=False, unique=True),
    Column("placed_at", InstantType, nullable=False),
    Column("currency", String, nullable=False),
    Column("shopper", Text, nullable=False),  # JSON Shopper
)
window_order_line = Table(
    "window_order_line", metadata,
    Column("position", Integer, primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("storefront", String, nullable=False),
    Column("variant_id", String, nullable=False),
    Column("quantity", DecimalType, nullable=False),
    Column("unit_price", DecimalType, nullable=False),
    Column("title", Text),
    Index("window_order_line_variant", "storefront", "variant_id", "position"),
)
note = Table(
    "note", metadata,  # single values of the whole server by name
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
)
