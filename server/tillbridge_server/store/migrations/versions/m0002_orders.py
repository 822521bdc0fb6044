"""Web orders: their lines, steps and sales, the shop window's own book of orders, and single values by name."""

import sqlalchemy as sa
from alembic import op

from tillbridge_server.store.types import DecimalType, InstantType, Integer, String, Text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what web orders need."""
    op.add_column("agent", sa.Column("orders_told_epoch", String, nullable=True))
    op.add_column("agent", sa.Column("orders_told_at", InstantType(length=27), nullable=True))
    op.add_column("reservation", sa.Column("counted", DecimalType(length=40), nullable=False, server_default="0"))
    _orders()
    _proof()
    _shop_window()


def _orders() -> None:
    op.create_table(
        "web_order",
        sa.Column("id", String, nullable=False),
        sa.Column("storefront", String, nullable=False),
        sa.Column("number", String, nullable=False),
        sa.Column("position", Integer, nullable=False),
        sa.Column("revision", Integer, nullable=False),
        sa.Column("sent_revision", Integer, nullable=False),
        sa.Column("state", String, nullable=False),
        sa.Column("state_at", InstantType(length=27), nullable=False),
        sa.Column("location_id", String, nullable=True),
        sa.Column("agent_id", String, nullable=True),
        sa.Column("placed_at", InstantType(length=27), nullable=False),
        sa.Column("taken_in_at", InstantType(length=27), nullable=False),
        sa.Column("currency", String, nullable=False),
        sa.Column("shopper", Text, nullable=False),
        sa.Column("code", String, nullable=True),
        sa.Column("message", Text, nullable=True),
        sa.Column("received_epoch", String, nullable=True),
        sa.Column("sequence", Integer, nullable=True),
        sa.Column("file", String, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("storefront", "number", name="web_order_number"),
    )
    op.create_index("web_order_state", "web_order", ["state", "state_at"])
    op.create_index("web_order_agent", "web_order", ["agent_id", "state"])
    op.create_table(
        "order_line",
        sa.Column("order_id", String, nullable=False),
        sa.Column("line", Integer, nullable=False),
        sa.Column("variant_id", String, nullable=False),
        sa.Column("quantity", DecimalType(length=40), nullable=False),
        sa.Column("unit_price", DecimalType(length=40), nullable=False),
        sa.Column("title", Text, nullable=True),
        sa.PrimaryKeyConstraint("order_id", "line"),
    )
    op.create_index("order_line_variant", "order_line", ["variant_id"])
    op.create_table(
        "order_step",
        sa.Column("n", Integer, nullable=False, autoincrement=True),
        sa.Column("order_id", String, nullable=False),
        sa.Column("revision", Integer, nullable=False),
        sa.Column("at", InstantType(length=27), nullable=False),
        sa.Column("event", String, nullable=False),
        sa.Column("before", String, nullable=False),
        sa.Column("after", String, nullable=False),
        sa.Column("by", String, nullable=False),
        sa.Column("message", Text, nullable=False),
        sa.Column("told_id", String, nullable=True),
        sa.PrimaryKeyConstraint("n"),
        sa.UniqueConstraint("order_id", "told_id", name="order_step_told"),
    )
    op.create_index("order_step_of", "order_step", ["order_id", "n"])


def _proof() -> None:
    op.create_table(
        "order_sale",
        sa.Column("location_id", String, nullable=False),
        sa.Column("sale_id", String, nullable=False),
        sa.Column("order_id", String, nullable=False),
        sa.Column("feed", String, nullable=False),
        sa.Column("variant_id", String, nullable=True),
        sa.Column("quantity", DecimalType(length=40), nullable=False),
        sa.Column("at", InstantType(length=27), nullable=False),
        sa.Column("captured_at", InstantType(length=27), nullable=True),
        sa.Column("applied_at", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("location_id", "sale_id"),
    )
    op.create_index("order_sale_of", "order_sale", ["order_id"])
    op.create_table(
        "order_cursor",
        sa.Column("storefront", String, nullable=False),
        sa.Column("position", Integer, nullable=False),
        sa.PrimaryKeyConstraint("storefront"),
    )
    op.create_table(
        "note",
        sa.Column("name", String, nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def _shop_window() -> None:
    op.create_table(
        "window_order",
        sa.Column("position", Integer, nullable=False, autoincrement=True),
        sa.Column("storefront", String, nullable=False),
        sa.Column("number", String, nullable=False),
        sa.Column("placed_at", InstantType(length=27), nullable=False),
        sa.Column("currency", String, nullable=False),
        sa.Column("shopper", Text, nullable=False),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("number"),
    )
    op.create_table(
        "window_order_line",
        sa.Column("position", Integer, nullable=False),
        sa.Column("line", Integer, nullable=False),
        sa.Column("storefront", String, nullable=False),
        sa.Column("variant_id", String, nullable=False),
        sa.Column("quantity", DecimalType(length=40), nullable=False),
        sa.Column("unit_price", DecimalType(length=40), nullable=False),
        sa.Column("title", Text, nullable=True),
        sa.PrimaryKeyConstraint("position", "line"),
    )
    op.create_index("window_order_line_variant", "window_order_line", ["storefront", "variant_id", "position"])
