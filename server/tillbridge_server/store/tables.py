"""Every table of the server, with what each row means. Created and changed by migrations only.

`location_id` leads every large primary key; there are no foreign keys across locations, so that the
tables can be spread over several machines later (DESIGN §6).
"""

from sqlalchemy import Boolean, Column, Index, LargeBinary, MetaData, Table, UniqueConstraint

from tillbridge_server.store.types import DecimalType, InstantType, Integer, String, Text

metadata = MetaData()

# -- places and machines ------------------------------------------------------------------------------------

location = Table(
    "location", metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("phase", String, nullable=False),  # observe | stock_and_price | orders | everything
    Column("time_zone", String, nullable=False),
    Column("created_at", InstantType, nullable=False),
)
agent = Table(
    "agent", metadata,
    Column("id", String, primary_key=True),
    Column("location_id", String, nullable=False),
    Column("key_id", String, nullable=False, unique=True),
    Column("public_key", String, nullable=False),
    Column("status", String, nullable=False),  # active | revoked | frozen
    Column("host", Text, nullable=False),  # JSON HostFacts
    Column("epoch", String),
    Column("seq", Integer, nullable=False),
    Column("head", String, nullable=False),
    Column("durable_seq", Integer, nullable=False),
    Column("boot_id", String),
    Column("boot_n", Integer, nullable=False),
    # JSON list of [boot id, first request], newest boot last; behind it ["", latest request of the newest boot]
    Column("boots_seen", Text, nullable=False),
    Column("resync_asked", Boolean, nullable=False),
    Column("enrolled_at", InstantType, nullable=False),
    Column("last_seen_at", InstantType),
    Column("heartbeat", Text),  # JSON Heartbeat, the latest
    Column("orders_told_epoch", String),  # the epoch for which it was last told what is known of its orders
    Column("orders_told_at", InstantType),
)
agent_epoch = Table(
    "agent_epoch", metadata,  # every epoch ever begun; one that comes back is refused
    Column("agent_id", String, primary_key=True),
    Column("epoch", String, primary_key=True),
    Column("begun_at", InstantType, nullable=False),
)
batch_log = Table(
    "batch_log", metadata,  # what was applied at each position; answers a repeat, finds a fork
    Column("agent_id", String, primary_key=True),
    Column("epoch", String, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("head", String, nullable=False),
    Column("applied_at", InstantType, nullable=False),
    Column("changes", Integer, nullable=False),
    Column("dead", Text, nullable=False),  # JSON list of DeadNote
)
invite = Table(
    "invite", metadata,
    Column("secret_hash", String, primary_key=True),  # SHA-256 hex of the code's secret
    Column("location_id", String, nullable=False),
    Column("expires_at", InstantType, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String, nullable=False),
    Column("used_key", String),  # public key hex that used it
    Column("used_at", InstantType),
    Column("agent_id", String),
)
feed = Table(
    "feed", metadata,  # what an agent said of its feeds; joins facts to numberings
    Column("location_id", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("agent_id", String, nullable=False),
    Column("numbering", String, nullable=False),
    Column("absence", String, nullable=False),
    Column("config", String, nullable=False),
    Column("as_of_from", InstantType),
    Column("as_of_to", InstantType),
    Column("as_of_kind", String),
)
mailbox = Table(
    "mailbox", metadata,
    Column("agent_id", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("created_at", InstantType, nullable=False),
    Column("body", Text, nullable=False),  # JSON Body
    Column("done_at", InstantType),
)

# -- facts, ledger ----------------------------------------------------------------------------------------


def _fact_columns() -> list[Column[object]]:
    """What every fact and every version of it carries; fresh objects, a Column belongs to one table."""
    return [
        Column("gone", Boolean, nullable=False),
        Column("value", Text, nullable=False),  # JSON of the record's fields, {} when gone
        Column("as_of_from", InstantType),
        Column("as_of_to", InstantType),
        Column("as_of_kind", String),
        Column("file", String, nullable=False),
        Column("sha256", String, nullable=False),
        Column("line", Integer, nullable=False),
        Column("text", Text, nullable=False),
        Column("agent_id", String, nullable=False),
        Column("captured_at", InstantType),
        Column("applied_at", InstantType, nullable=False),
    ]


fact = Table(
    "fact", metadata,  # latest known truth of one feed about one code
    Column("location_id", String, primary_key=True),
    Column("feed", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("code", String, primary_key=True),
    *_fact_columns(),
)
fact_history = Table(
    "fact_history", metadata,  # append-only: every version a fact had; `n` counts up over the table
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("location_id", String, nullable=False),
    Column("feed", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("code", String, nullable=False),
    *_fact_columns(),
    Index("fact_history_of", "location_id", "feed", "kind", "code", "n"),
)
fact_shadow = Table(
    "fact_shadow", metadata,  # a full state on its way in; swapped in with its last part
    Column("location_id", String, primary_key=True),
    Column("feed", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("code", String, primary_key=True),
    Column("full_id", String, nullable=False),
    *_fact_columns(),
)
ledger = Table(
    "ledger", metadata,  # append-only events; natural id once, a second content under it is a conflict
    Column("location_id", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("id", String, primary_key=True),  # natural id; a conflicting second content gets "<id>!2"
    Column("feed", String, nullable=False),
    Column("code", String, nullable=False),
    Column("quantity", DecimalType),
    Column("price", DecimalType),
    Column("at", InstantType, nullable=False),
    Column("value", Text, nullable=False),  # JSON of the record's fields
    Column("content", String, nullable=False),  # SHA-256 hex of kind, id and value
    Column("file", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("line", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("agent_id", String, nullable=False),
    Column("captured_at", InstantType),
    Column("applied_at", InstantType, nullable=False),
    Index("ledger_code_at", "location_id", "code", "at"),
)

# -- what is sold and shown -------------------------------------------------------------------------------

variant = Table(
    "variant", metadata,
    Column("id", String, primary_key=True),  # "<numbering>:<code>" of the code that made it
    Column("created_at", InstantType, nullable=False),
)
numbering_code = Table(
    "numbering_code", metadata,  # which code of which numbering is which variant; relinking edits only this
    Column("numbering", String, primary_key=True),
    Column("code", String, primary_key=True),
    Column("variant_id", String, nullable=False),
    Column("linked_by", String, nullable=False),  # "system" or a person
    Column("linked_at", InstantType, nullable=False),
    Index("numbering_code_variant", "variant_id"),
)
activation = Table(
    "activation", metadata,  # a person let this variant be shown in this storefront
    Column("storefront", String, primary_key=True),
    Column("variant_id", String, primary_key=True),
    Column("activated_at", InstantType, nullable=False),
    Column("activated_by", String, nullable=False),
)
reservation = Table(
    "reservation", metadata,  # stock promised to a web order that no count includes yet
    Column("location_id", String, primary_key=True),
    Column("order_id", String, primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("variant_id", String, nullable=False),
    Column("quantity", DecimalType, nullable=False),
    Column("counted", DecimalType, nullable=False, server_default="0"),  # pieces of it that a count includes by now
    Column("state", String, nullable=False),  # open | released
    Column("created_at", InstantType, nullable=False),
    Column("released_at", InstantType),
    Column("released_why", String),
    Index("reservation_variant", "variant_id", "state"),
)
dirty = Table(
    "dirty_touch", metadata,  # variants whose offers must be decided again; a row for every touch, none is ever changed
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("variant_id", String, nullable=False),
    Column("since", InstantType, nullable=False),
    Index("dirty_touch_variant", "variant_id"),
)
offer = Table(
    "offer", metadata,  # what a storefront should show, as last decided; key and value of core/offers.Offer
    Column("storefront", String, primary_key=True),
    Column("variant_id", String, primary_key=True),
    Column("state", String, nullable=False),  # live | hidden | held
    Column("value", Text, nullable=False),  # JSON
    Column("fingerprint", String, nullable=False),
    Column("decided_at", InstantType, nullable=False),
    Index("offer_state", "storefront", "state"),
)
publish_task = Table(
    "publish_task", metadata,  # the publish queue: at most one waiting value per variant, the latest
    Column("storefront", String, primary_key=True),
    Column("variant_id", String, primary_key=True),
    Column("version", Integer, nullable=False),  # bumped when the value changes while waiting
    Column("value", Text, nullable=False),  # JSON of what to show; {"hide": true} takes it off
    Column("due_at", InstantType, nullable=False),
    Column("queued_at", InstantType, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("error", Text),
    Index("publish_task_due", "storefront", "due_at"),
)
publication = Table(
    "publication", metadata,  # what we know the storefront shows
    Column("storefront", String, primary_key=True),
    Column("variant_id", String, primary_key=True),
    Column("value", Text, nullable=False),
    Column("published_at", InstantType, nullable=False),
    Index("publication_at", "storefront", "published_at"),
)
window_item = Table(
    "window_item", metadata,  # the built-in shop window's own stock of pages; only its connector writes here
    Column("storefront", String, primary_key=True),
    Column("variant_id", String, primary_key=True),
    Column("value", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("changed_at", InstantType, nullable=False),
    Index("window_item_version", "storefront", "version"),
)

# -- what waits for a person ------------------------------------------------------------------------------

hold = Table(
    "hold", metadata,
    Column("id", String, primary_key=True),
    Column("what", String, nullable=False),  # file | change | breaker | conflict
    Column("place", String, nullable=False),  # storefront, or "<location>/<feed>"
    Column("since", InstantType, nullable=False),
    Column("code", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("hint", Text, nullable=False),
    Column("affected", Integer, nullable=False),
    Column("sample", Text, nullable=False),  # JSON list of objects
    Column("state", String, nullable=False),  # open | approved | rejected | gone
    Column("agent_id", String),  # a file hold lives at this agent; the decision travels by mailbox
    Column("decided_at", InstantType),
    Column("decided_by", String),
    Column("decided_why", Text),
    Index("hold_state", "state", "since"),
)
hold_item = Table(
    "hold_item", metadata,  # the offers a breaker holds, by fingerprint, and what was decided about each
    Column("hold_id", String, primary_key=True),
    Column("storefront", String, primary_key=True),
    Column("variant_id", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("verdict", String),  # null | approved | rejected
    Index("hold_item_variant", "storefront", "variant_id"),
)
breaker_tally = Table(
    "breaker_tally", metadata,  # what one file has changed so far, so that a limit counts over all its batches
    Column("storefront", String, primary_key=True),
    Column("breaker", String, primary_key=True),  # to_zero | price_drop | owner_missing
    Column("cause", String, primary_key=True),  # "<location>/<feed>/<sha256 of the file>", or the kind in conflict
    Column("passed", Integer, nullable=False),  # let go before the limit was reached
    Column("holds", Integer, nullable=False),  # how many holds this cause has made
    Column("hold_id", String),  # the open one, which is extended rather than doubled
    Column("since", InstantType, nullable=False),
)
rules_seen = Table(
    "rules_seen", metadata,  # the rules all offers were last decided with; other rules make everything dirty
    Column("storefront", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("seen_at", InstantType, nullable=False),
)
dead_letter = Table(
    "dead_letter", metadata,
    Column("id", String, primary_key=True),
    Column("origin", String, nullable=False),  # agent | storefront
    Column("place", String, nullable=False),  # agent id or storefront
    Column("since", InstantType, nullable=False),
    Column("code", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("payload_sha256", String, nullable=False),
)

# -- people, records of deeds -----------------------------------------------------------------------------

person = Table(
    "person", metadata,
    Column("name", String, primary_key=True),
    Column("password_hash", String, nullable=False),
    Column("created_at", InstantType, nullable=False),
)
session = Table(
    "session", metadata,
    Column("id_hash", String, primary_key=True),
    Column("person", String, nullable=False),
    Column("csrf", String, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("seen_at", InstantType, nullable=False),
)
audit = Table(
    "audit", metadata,  # append-only: every act of a person
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("at", InstantType, nullable=False),
    Column("by", String, nullable=False),
    Column("act", String, nullable=False),
    Column("what", Text, nullable=False),
    Column("why", Text, nullable=False),
)
backup = Table(
    "backup", metadata,  # verified backups; positions in one are durable
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("at", InstantType, nullable=False),
    Column("file", Text, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("sha256", String, nullable=False),
    UniqueConstraint("file", "at", name="backup_file_at"),
)
