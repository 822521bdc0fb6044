"""The publish queue: values on their way to storefronts, and what the storefronts are known to show."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tillbridge_server.core.offers import decode_shown, fingerprint
from tillbridge_server.core.publishing import Item, Rejection
from tillbridge_server.store.database import level_triggered
from tillbridge_server.store.dead_letters import clear_refusal, refuse_value, storefront_letter_id
from tillbridge_server.store.fact_writes import chunks, upsert
from tillbridge_server.store.offers import Baseline
from tillbridge_server.store.tables import publication, publish_task

#: A taken task comes due again after this long if nobody recorded what became of it.
LEASE_S = 60.0
PUBLISH_ITEMS_MAX = 200


@dataclass(frozen=True)
class Task:
    """One value to tell a storefront; `version` grows while the task waits, `tries` counts failures so far."""

    storefront: str
    variant: str
    version: int
    value: str
    tries: int
    queued_at: dt.datetime


@dataclass(frozen=True)
class Recorded:
    """What became of the tasks of one push, by variant."""

    published: tuple[str, ...]
    refused: tuple[str, ...]
    kept: tuple[str, ...]


def queue_values(
    conn: sa.Connection, storefront: str, values: Mapping[str, str], baselines: Mapping[str, Baseline],
    now: dt.datetime,
) -> None:
    """Put these values (canonical text by variant) into the queue, at most one per variant, the latest.

    A value that replaces a waiting one gets the next version and keeps its due time: the waiting one may be
    on its way at this moment, or its storefront may have asked for a pause.
    """
    rows = []
    for variant, value in sorted(values.items()):
        task = baselines[variant].task if variant in baselines else None
        rows.append({
            "storefront": storefront, "variant_id": variant, "version": task.version + 1 if task else 1,
            "value": value, "due_at": task.due_at if task else now, "queued_at": now,
            "tries": task.tries if task else 0, "error": task.error if task else None,
        })
    upsert(conn, publish_task, rows, ("storefront", "variant_id"))


@level_triggered
def take_due(
    conn: sa.Connection, storefront: str, now: dt.datetime, *, limit: int = PUBLISH_ITEMS_MAX, lease_s: float = LEASE_S,
) -> list[Task]:
    """Take the oldest due tasks and lease them, so that no other process takes them meanwhile."""
    query = (
        sa.select(publish_task).where(publish_task.c.storefront == storefront, publish_task.c.due_at <= now)
        .order_by(publish_task.c.due_at, publish_task.c.variant_id).limit(limit).with_for_update(skip_locked=True)
    )
    tasks = [Task(row.storefront, row.variant_id, row.version, row.value, row.tries, row.queued_at)
             for row in conn.execute(query)]
    _set_due(conn, storefront, [task.variant for task in tasks], now + dt.timedelta(seconds=lease_s))
    return tasks


def release_leases(conn: sa.Connection, storefront: str, now: dt.datetime) -> None:
    """At the start of a process: what one that is gone had leased is due now, and so is what waited for a retry."""
    conn.execute(
        publish_task.update().where(publish_task.c.storefront == storefront, publish_task.c.due_at > now)
        .values(due_at=now)
    )


@level_triggered
def record_outcome(
    conn: sa.Connection, tasks: Sequence[Task], *, accepted: Sequence[str], rejected: Mapping[str, Rejection],
    retry_at: dt.datetime, error: str, now: dt.datetime,
) -> Recorded:
    """Record what a push did: accepted values are published, rejected ones dead letters, the rest stays queued.

    A value changed while it was being sent stays in the queue and is due at once. `retry_at` and `error` are
    for the rest.
    """
    if not tasks:
        return Recorded((), (), ())
    storefront = tasks[0].storefront
    told = {task.variant: task for task in tasks}
    done = [told[variant] for variant in sorted(set(accepted)) if variant in told]
    refused = [told[variant] for variant in sorted(rejected) if variant in told and variant not in set(accepted)]
    settled = {task.variant for task in (*done, *refused)}
    kept = [task for task in tasks if task.variant not in settled]
    shown = [{"variant_id": task.variant, "value": task.value} for task in done]
    upsert(conn, publication, [{"storefront": storefront, "published_at": now, **one} for one in shown],
           ("storefront", "variant_id"))
    clear_refusal(conn, [storefront_letter_id(storefront, task.variant, task.value) for task in done])
    for task in refused:
        why = rejected[task.variant]
        refuse_value(conn, storefront, task.variant, task.value, code=why.code, message=why.message, now=now)
    _close(conn, [*done, *refused], now)
    _keep(conn, kept, retry_at, error)
    return Recorded(
        tuple(task.variant for task in done), tuple(task.variant for task in refused),
        tuple(task.variant for task in kept),
    )


def item_of(task: Task) -> Item:
    """A task as connectors get it; the key names this value for this variant, the same on every retry."""
    key = fingerprint(f"{task.storefront}\n{task.variant}\n{task.value}")
    return Item(task.variant, decode_shown(task.value), key)


def _close(conn: sa.Connection, tasks: Sequence[Task], now: dt.datetime) -> None:
    """Remove tasks whose value is still the one that was sent; the others are due at once."""
    if not tasks:
        return
    conn.execute(
        publish_task.delete().where(
            publish_task.c.storefront == sa.bindparam("of"), publish_task.c.variant_id == sa.bindparam("one"),
            publish_task.c.version == sa.bindparam("sent"), publish_task.c.value == sa.bindparam("text"),
        ),
        [{"of": task.storefront, "one": task.variant, "sent": task.version, "text": task.value} for task in tasks],
    )
    _set_due(conn, tasks[0].storefront, [task.variant for task in tasks], now)


def _keep(conn: sa.Connection, tasks: Sequence[Task], retry_at: dt.datetime, error: str) -> None:
    """Come back later, also where a newer value waits by now: the storefront's trouble is the same for it."""
    for some in chunks([task.variant for task in tasks]):
        conn.execute(publish_task.update().where(
            publish_task.c.storefront == tasks[0].storefront, publish_task.c.variant_id.in_(some)
        ).values(due_at=retry_at, tries=publish_task.c.tries + 1, error=error))


def _set_due(conn: sa.Connection, storefront: str, variants: Sequence[str], due_at: dt.datetime) -> None:
    for some in chunks(variants):
        conn.execute(publish_task.update().where(
            publish_task.c.storefront == storefront, publish_task.c.variant_id.in_(some)
        ).values(due_at=due_at))
