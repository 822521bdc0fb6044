"""The schema of the agent's database as numbered steps; imported only when a step is due.

sqlite-utils applies each step in a transaction and leaves a failed one pending. The database is copied
beside itself before the first step (DESIGN §5.24).
"""

from sqlite_utils import Database, Migrations

migrations = Migrations("tillbridge-agent")
#: Kept in PRAGMA user_version, so that a start with nothing due needs no import of this module.
STEPS = 2


@migrations()
def m001_first(db: Database) -> None:
    """Outbox, snapshot, holds, quarantine."""
    _run(db, _FIRST)


@migrations()
def m002_orders_and_devices(db: Database) -> None:
    """Web orders on their way into the till, the till's answers to them, devices."""
    _run(db, _ORDERS)
    _run(db, _DEVICES)


def _run(db: Database, script: str) -> None:
    for statement in script.split(";"):
        if statement.strip():
            db.execute(statement)


_FIRST = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE counter (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE feed (
  name TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, config TEXT NOT NULL, file TEXT NOT NULL, sha256 TEXT NOT NULL,
  encoding TEXT NOT NULL, columns TEXT NOT NULL, rows INTEGER NOT NULL, counts TEXT NOT NULL, bytes INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL, accepted_at TEXT NOT NULL, as_of_from TEXT, as_of_to TEXT, as_of_kind TEXT,
  full INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE snapshot (feed TEXT, key BLOB, row BLOB, n INTEGER NOT NULL, PRIMARY KEY (feed, key, row)) WITHOUT ROWID;
CREATE TABLE snapshot_staged (
  feed TEXT, key BLOB, row BLOB, n INTEGER NOT NULL, PRIMARY KEY (feed, key, row)
) WITHOUT ROWID;
CREATE TABLE kept (
  feed TEXT, kind TEXT, key TEXT, change BLOB NOT NULL, PRIMARY KEY (feed, kind, key)
) WITHOUT ROWID;
CREATE TABLE change (
  id INTEGER PRIMARY KEY AUTOINCREMENT, feed TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,
  event INTEGER NOT NULL, body BLOB NOT NULL, captured_at TEXT NOT NULL
);
CREATE UNIQUE INDEX change_state ON change (feed, kind, key) WHERE event = 0;
CREATE TABLE batch (
  epoch TEXT NOT NULL, seq INTEGER NOT NULL, head TEXT NOT NULL, body BLOB NOT NULL, changes INTEGER NOT NULL,
  events INTEGER NOT NULL, frozen_at TEXT NOT NULL, full_feed TEXT, full_last INTEGER NOT NULL,
  acked INTEGER NOT NULL, UNIQUE (epoch, seq)
);
CREATE TABLE journal (
  feed TEXT, file TEXT, position INTEGER NOT NULL, prefix TEXT NOT NULL, line INTEGER NOT NULL,
  columns TEXT NOT NULL, encoding TEXT NOT NULL, looked_at TEXT NOT NULL, PRIMARY KEY (feed, file)
) WITHOUT ROWID;
CREATE TABLE hold (
  id TEXT PRIMARY KEY, feed TEXT NOT NULL, file TEXT NOT NULL, sha256 TEXT NOT NULL, mtime_ns INTEGER NOT NULL,
  since TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL, hint TEXT NOT NULL, affected INTEGER NOT NULL,
  sample TEXT NOT NULL, state TEXT NOT NULL, decided_at TEXT, decided_by TEXT, why TEXT
) WITHOUT ROWID;
CREATE INDEX hold_content ON hold (feed, sha256);
CREATE TABLE quarantine (
  id TEXT PRIMARY KEY, feed TEXT NOT NULL, file TEXT NOT NULL, sha256 TEXT NOT NULL, since TEXT NOT NULL,
  code TEXT NOT NULL, message TEXT NOT NULL, hint TEXT NOT NULL, line INTEGER NOT NULL, column TEXT NOT NULL,
  text TEXT NOT NULL, whole_file INTEGER NOT NULL, n INTEGER NOT NULL, state TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX quarantine_content ON quarantine (feed, sha256);
"""

#: web_order: one row per order and revision, kept for ever without its payload, so that none is placed twice.
#: `nonce` is drawn before the mark file is made and stands in it; `confirmed`: the server has acked `received`.
#: order_answer: every version of an answer file once; `bytes` tells how much of it that version had.
_ORDERS = """
ALTER TABLE batch ADD COLUMN orders INTEGER NOT NULL DEFAULT 0;
CREATE INDEX change_orders ON change (id) WHERE kind = 'order_state';
CREATE TABLE web_order (
  id TEXT, revision INTEGER, state TEXT NOT NULL, payload BLOB, sha256 TEXT NOT NULL, placed_at TEXT NOT NULL,
  received_at TEXT NOT NULL, state_at TEXT NOT NULL, confirmed INTEGER NOT NULL, nonce TEXT, sequence INTEGER,
  file TEXT, file_sha256 TEXT, code TEXT, message TEXT, PRIMARY KEY (id, revision)
) WITHOUT ROWID;
CREATE INDEX web_order_state ON web_order (state);
CREATE TABLE order_answer (
  sha256 TEXT, name TEXT, seen_at TEXT NOT NULL, bytes INTEGER NOT NULL, text TEXT NOT NULL, problem TEXT,
  PRIMARY KEY (sha256, name)
) WITHOUT ROWID
"""

#: device: what came last from each one, kept with it in one transaction, so that what a scanner sends once more
#: because it got no ACK is known for what it is. `acked`: the scanner has surely got the ACK.
_DEVICES = """
CREATE TABLE device (
  name TEXT PRIMARY KEY, last_text TEXT, last_symbology TEXT, last_at TEXT, acked INTEGER NOT NULL,
  scans INTEGER NOT NULL, repeated INTEGER NOT NULL, noise INTEGER NOT NULL
) WITHOUT ROWID
"""
