"""First schema: places, facts, ledger, offers, holds, people."""

import sqlalchemy as sa
from alembic import op

from tillbridge_server.store.types import DecimalType, InstantType, Integer, String, Text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table of the first release."""
    _part_1()
    _part_2()
    _part_3()
    _part_4()
    _part_5()
    _part_6()
    _part_7()
    _part_8()


def _part_1() -> None:
    op.create_table(
        "activation",
        sa.Column("storefront", String, nullable=False),
        sa.Column("variant_id", String, nullable=False),
        sa.Column("activated_at", InstantType(length=27), nullable=False),
        sa.Column("activated_by", String, nullable=False),
        sa.PrimaryKeyConstraint("storefront", "variant_id"),
    )
    op.create_table(
        "agent",
        sa.Column("id", String, nullable=False),
        sa.Column("location_id", String, nullable=False),
        sa.Column("key_id", String, nullable=False),
        sa.Column("public_key", String, nullable=False),
        sa.Column("status", String, nullable=False),
        sa.Column("host", Text, nullable=False),
        sa.Column("epoch", String, nullable=True),
        sa.Column("seq", Integer, nullable=False),
        sa.Column("head", String, nullable=False),
        sa.Column("durable_seq", Integer, nullable=False),
        sa.Column("boot_id", String, nullable=True),
        sa.Column("boot_n", Integer, nullable=False),
        sa.Column("boots_seen", Text, nullable=False),
        sa.Column("resync_asked", sa.Boolean(), nullable=False),
        sa.Column("enrolled_at", InstantType(length=27), nullable=False),
        sa.Column("last_seen_at", InstantType(length=27), nullable=True),
        sa.Column("heartbeat", Text, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key_id")
    )
    op.create_table(
        "agent_epoch",
        sa.Column("agent_id", String, nullable=False),
        sa.Column("epoch", String, nullable=False),
        sa.Column("begun_at", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("agent_id", "epoch"),
    )
    op.create_table(
        "audit",
        sa.Column("n", Integer, autoincrement=True, nullable=False),
        sa.Column("at", InstantType(length=27), nullable=False),
        sa.Column("by", String, nullable=False),
        sa.Column("act", String, nullable=False),
        sa.Column("what", Text, nullable=False),
        sa.Column("why", Text, nullable=False),
        sa.PrimaryKeyConstraint("n"),
    )


def _part_2() -> None:
    op.create_table(
        "backup",
        sa.Column("n", Integer, autoincrement=True, nullable=False),
        sa.Column("at", InstantType(length=27), nullable=False),
        sa.Column("file", Text, nullable=False),
        sa.Column("bytes", Integer, nullable=False),
        sa.Column("sha256", String, nullable=False),
        sa.PrimaryKeyConstraint("n"),
        sa.UniqueConstraint("file", "at", name="backup_file_at")
    )
    op.create_table(
        "batch_log",
        sa.Column("agent_id", String, nullable=False),
        sa.Column("epoch", String, nullable=False),
        sa.Column("seq", Integer, nullable=False),
        sa.Column("head", String, nullable=False),
        sa.Column("applied_at", InstantType(length=27), nullable=False),
        sa.Column("changes", Integer, nullable=False),
        sa.Column("dead", Text, nullable=False),
        sa.PrimaryKeyConstraint("agent_id", "epoch", "seq"),
    )
    op.create_table(
        "breaker_tally",
        sa.Column("storefront", String, nullable=False),
        sa.Column("breaker", String, nullable=False),
        sa.Column("cause", String, nullable=False),
        sa.Column("passed", Integer, nullable=False),
        sa.Column("holds", Integer, nullable=False),
        sa.Column("hold_id", String, nullable=True),
        sa.Column("since", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("storefront", "breaker", "cause"),
    )
    op.create_table(
        "dead_letter",
        sa.Column("id", String, nullable=False),
        sa.Column("origin", String, nullable=False),
        sa.Column("place", String, nullable=False),
        sa.Column("since", InstantType(length=27), nullable=False),
        sa.Column("code", String, nullable=False),
        sa.Column("message", Text, nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("payload_sha256", String, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def _part_3() -> None:
    op.create_table(
        "dirty",
        sa.Column("variant_id", String, nullable=False),
        sa.Column("n", Integer, nullable=False),
        sa.Column("since", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("variant_id"),
    )
    op.create_table(
        "fact",
        sa.Column("location_id", String, nullable=False),
        sa.Column("feed", String, nullable=False),
        sa.Column("kind", String, nullable=False),
        sa.Column("code", String, nullable=False),
        sa.Column("gone", sa.Boolean(), nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.Column("as_of_from", InstantType(length=27), nullable=True),
        sa.Column("as_of_to", InstantType(length=27), nullable=True),
        sa.Column("as_of_kind", String, nullable=True),
        sa.Column("file", String, nullable=False),
        sa.Column("sha256", String, nullable=False),
        sa.Column("line", Integer, nullable=False),
        sa.Column("text", Text, nullable=False),
        sa.Column("agent_id", String, nullable=False),
        sa.Column("captured_at", InstantType(length=27), nullable=True),
        sa.Column("applied_at", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("location_id", "feed", "kind", "code"),
    )
    op.create_table(
        "fact_history",
        sa.Column("n", Integer, autoincrement=True, nullable=False),
        sa.Column("location_id", String, nullable=False),
        sa.Column("feed", String, nullable=False),
        sa.Column("kind", String, nullable=False),
        sa.Column("code", String, nullable=False),
        sa.Column("gone", sa.Boolean(), nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.Column("as_of_from", InstantType(length=27), nullable=True),
        sa.Column("as_of_to", InstantType(length=27), nullable=True),
        sa.Column("as_of_kind", String, nullable=True),
        sa.Column("file", String, nullable=False),
        sa.Column("sha256", String, nullable=False),
        sa.Column("line", Integer, nullable=False),
        sa.Column("text", Text, nullable=False),
        sa.Column("agent_id", String, nullable=False),
        sa.Column("captured_at", InstantType(length=27), nullable=True),
        sa.Column("applied_at", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("n"),
    )
    op.create_index("fact_history_of", "fact_history", ["location_id", "feed", "kind", "code", "n"], unique=False)


def _part_4() -> None:
    op.create_table(
        "fact_shadow",
        sa.Column("location_id", String, nullable=False),
        sa.Column("feed", String, nullable=False),
        sa.Column("kind", String, nullable=False),
        sa.Column("code", String, nullable=False),
        sa.Column("full_id", String, nullable=False),
        sa.Column("gone", sa.Boolean(), nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.Column("as_of_from", InstantType(length=27), nullable=True),
        sa.Column("as_of_to", InstantType(length=27), nullable=True),
        sa.Column("as_of_kind", String, nullable=True),
        sa.Column("file", String, nullable=False),
        sa.Column("sha256", String, nullable=False),
        sa.Column("line", Integer, nullable=False),
        sa.Column("text", Text, nullable=False),
        sa.Column("agent_id", String, nullable=False),
        sa.Column("captured_at", InstantType(length=27), nullable=True),
        sa.Column("applied_at", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("location_id", "feed", "kind", "code"),
    )
    op.create_table(
        "feed",
        sa.Column("location_id", String, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("agent_id", String, nullable=False),
        sa.Column("numbering", String, nullable=False),
        sa.Column("absence", String, nullable=False),
        sa.Column("config", String, nullable=False),
        sa.Column("as_of_from", InstantType(length=27), nullable=True),
        sa.Column("as_of_to", InstantType(length=27), nullable=True),
        sa.Column("as_of_kind", String, nullable=True),
        sa.PrimaryKeyConstraint("location_id", "name"),
    )


def _part_5() -> None:
    op.create_table(
        "hold",
        sa.Column("id", String, nullable=False),
        sa.Column("what", String, nullable=False),
        sa.Column("place", String, nullable=False),
        sa.Column("since", InstantType(length=27), nullable=False),
        sa.Column("code", String, nullable=False),
        sa.Column("message", Text, nullable=False),
        sa.Column("hint", Text, nullable=False),
        sa.Column("affected", Integer, nullable=False),
        sa.Column("sample", Text, nullable=False),
        sa.Column("state", String, nullable=False),
        sa.Column("agent_id", String, nullable=True),
        sa.Column("decided_at", InstantType(length=27), nullable=True),
        sa.Column("decided_by", String, nullable=True),
        sa.Column("decided_why", Text, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("hold_state", "hold", ["state", "since"], unique=False)
    op.create_table(
        "hold_item",
        sa.Column("hold_id", String, nullable=False),
        sa.Column("storefront", String, nullable=False),
        sa.Column("variant_id", String, nullable=False),
        sa.Column("fingerprint", String, nullable=False),
        sa.Column("verdict", String, nullable=True),
        sa.PrimaryKeyConstraint("hold_id", "storefront", "variant_id"),
    )
    op.create_index("hold_item_variant", "hold_item", ["storefront", "variant_id"], unique=False)
    op.create_table(
        "invite",
        sa.Column("secret_hash", String, nullable=False),
        sa.Column("location_id", String, nullable=False),
        sa.Column("expires_at", InstantType(length=27), nullable=False),
        sa.Column("created_at", InstantType(length=27), nullable=False),
        sa.Column("created_by", String, nullable=False),
        sa.Column("used_key", String, nullable=True),
        sa.Column("used_at", InstantType(length=27), nullable=True),
        sa.Column("agent_id", String, nullable=True),
        sa.PrimaryKeyConstraint("secret_hash"),
    )


def _part_6() -> None:
    op.create_table(
        "ledger",
        sa.Column("location_id", String, nullable=False),
        sa.Column("kind", String, nullable=False),
        sa.Column("id", String, nullable=False),
        sa.Column("feed", String, nullable=False),
        sa.Column("code", String, nullable=False),
        sa.Column("quantity", DecimalType(length=40), nullable=True),
        sa.Column("price", DecimalType(length=40), nullable=True),
        sa.Column("at", InstantType(length=27), nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.Column("content", String, nullable=False),
        sa.Column("file", String, nullable=False),
        sa.Column("sha256", String, nullable=False),
        sa.Column("line", Integer, nullable=False),
        sa.Column("text", Text, nullable=False),
        sa.Column("agent_id", String, nullable=False),
        sa.Column("captured_at", InstantType(length=27), nullable=True),
        sa.Column("applied_at", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("location_id", "kind", "id"),
    )
    op.create_index("ledger_code_at", "ledger", ["location_id", "code", "at"], unique=False)
    op.create_table(
        "location",
        sa.Column("id", String, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("phase", String, nullable=False),
        sa.Column("time_zone", String, nullable=False),
        sa.Column("created_at", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "mailbox",
        sa.Column("agent_id", String, nullable=False),
        sa.Column("id", String, nullable=False),
        sa.Column("created_at", InstantType(length=27), nullable=False),
        sa.Column("body", Text, nullable=False),
        sa.Column("done_at", InstantType(length=27), nullable=True),
        sa.PrimaryKeyConstraint("agent_id", "id"),
    )
    op.create_table(
        "numbering_code",
        sa.Column("numbering", String, nullable=False),
        sa.Column("code", String, nullable=False),
        sa.Column("variant_id", String, nullable=False),
        sa.Column("linked_by", String, nullable=False),
        sa.Column("linked_at", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("numbering", "code"),
    )


def _part_7() -> None:
    op.create_index("numbering_code_variant", "numbering_code", ["variant_id"], unique=False)
    op.create_table(
        "offer",
        sa.Column("storefront", String, nullable=False),
        sa.Column("variant_id", String, nullable=False),
        sa.Column("state", String, nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.Column("fingerprint", String, nullable=False),
        sa.Column("decided_at", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("storefront", "variant_id"),
    )
    op.create_index("offer_state", "offer", ["storefront", "state"], unique=False)
    op.create_table(
        "person",
        sa.Column("name", String, nullable=False),
        sa.Column("password_hash", String, nullable=False),
        sa.Column("created_at", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "publication",
        sa.Column("storefront", String, nullable=False),
        sa.Column("variant_id", String, nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.Column("published_at", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("storefront", "variant_id"),
    )
    op.create_index("publication_at", "publication", ["storefront", "published_at"], unique=False)
    op.create_table(
        "publish_task",
        sa.Column("storefront", String, nullable=False),
        sa.Column("variant_id", String, nullable=False),
        sa.Column("version", Integer, nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.Column("due_at", InstantType(length=27), nullable=False),
        sa.Column("queued_at", InstantType(length=27), nullable=False),
        sa.Column("tries", Integer, nullable=False),
        sa.Column("error", Text, nullable=True),
        sa.PrimaryKeyConstraint("storefront", "variant_id"),
    )
    op.create_index("publish_task_due", "publish_task", ["storefront", "due_at"], unique=False)


def _part_8() -> None:
    op.create_table(
        "reservation",
        sa.Column("location_id", String, nullable=False),
        sa.Column("order_id", String, nullable=False),
        sa.Column("line", Integer, nullable=False),
        sa.Column("variant_id", String, nullable=False),
        sa.Column("quantity", DecimalType(length=40), nullable=False),
        sa.Column("state", String, nullable=False),
        sa.Column("created_at", InstantType(length=27), nullable=False),
        sa.Column("released_at", InstantType(length=27), nullable=True),
        sa.Column("released_why", String, nullable=True),
        sa.PrimaryKeyConstraint("location_id", "order_id", "line"),
    )
    op.create_index("reservation_variant", "reservation", ["variant_id", "state"], unique=False)
    op.create_table(
        "rules_seen",
        sa.Column("storefront", String, nullable=False),
        sa.Column("fingerprint", String, nullable=False),
        sa.Column("seen_at", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("storefront"),
    )
    op.create_table(
        "session",
        sa.Column("id_hash", String, nullable=False),
        sa.Column("person", String, nullable=False),
        sa.Column("csrf", String, nullable=False),
        sa.Column("created_at", InstantType(length=27), nullable=False),
        sa.Column("seen_at", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id_hash"),
    )
    op.create_table(
        "variant",
        sa.Column("id", String, nullable=False),
        sa.Column("created_at", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "window_item",
        sa.Column("storefront", String, nullable=False),
        sa.Column("variant_id", String, nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.Column("version", Integer, nullable=False),
        sa.Column("changed_at", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("storefront", "variant_id"),
    )
    op.create_index("window_item_version", "window_item", ["storefront", "version"], unique=False)
