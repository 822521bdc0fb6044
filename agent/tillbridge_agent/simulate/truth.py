"""truth.json: what the simulated shop holds to be true; written only here, always whole (temp file + rename)."""

import os
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import msgspec

from tillbridge_agent.simulate.assortment import Variant
from tillbridge_agent.simulate.till import SoldLine
from tillbridge_agent.simulate.weborders import Imported, OrderTold, orders_told

WRITES_KEPT = 200


class TruthVariant(msgspec.Struct, forbid_unknown_fields=True):
    """One item as the last completed export showed it; `sale_price` None = not on sale."""

    on_hand: Decimal
    list_price: Decimal
    sale_price: Decimal | None
    title: str
    gtin: str = ""
    department: str = ""


class ChangedValue(msgspec.Struct, forbid_unknown_fields=True):
    """Stock and selling price of one item that differs from the export before."""

    on_hand: Decimal
    price: Decimal


class Write(msgspec.Struct, forbid_unknown_fields=True):
    """One completed export: when its writing began and ended (UTC) and what it changed."""

    n: int
    started_at: datetime
    ended_at: datetime
    changed: dict[str, ChangedValue]


class Truth(msgspec.Struct, forbid_unknown_fields=True):
    """The kept state of the shop.

    `variants` are those of the last completed export; `sales` the natural ids of every sale line up to the
    last save; `sold` their number; `shown` how many of them the last completed export had taken into account.
    `orders` are the imported web orders by their number, `imports` what became of each import file, by its name.
    """

    v: int
    seed: int
    settle_s: float
    sold: int
    shown: int
    variants: dict[str, TruthVariant]
    sales: list[str]
    exports: int
    writes: list[Write]
    orders: dict[str, OrderTold] = {}
    imports: dict[str, Imported] = {}


_ENCODER = msgspec.json.Encoder(decimal_format="string")
_DECODER = msgspec.json.Decoder(Truth)


def load_truth(path: Path) -> Truth | None:
    """The kept truth, None where there is none. Raises msgspec.MsgspecError when it is not a truth file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return _DECODER.decode(data)


def save_truth(path: Path, truth: Truth) -> None:
    """Replaces the file in one step: a reader sees the old truth or the new one, never half of it."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(_ENCODER.encode(truth))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def empty_truth(seed: int, settle_s: float) -> Truth:
    """A shop that has not exported anything yet."""
    return Truth(
        v=1, seed=seed, settle_s=settle_s, sold=0, shown=0, variants={}, sales=[], exports=0, writes=[],
    )


def after_export(
    truth: Truth, variants: Mapping[str, Variant], shown: int, started_at: datetime, ended_at: datetime,
) -> Truth:
    """The truth with one more completed export of `variants`; only the last WRITES_KEPT writes are kept."""
    changed = {
        code: ChangedValue(on_hand=variant.on_hand, price=variant.price_now)
        for code, variant in variants.items()
        if code not in truth.variants or _as_variant(code, truth.variants[code]) != variant
    }
    write = Write(n=truth.exports + 1, started_at=started_at, ended_at=ended_at, changed=changed)
    kept = {
        code: TruthVariant(
            on_hand=v.on_hand, list_price=v.list_price, sale_price=v.sale_price, title=v.title, gtin=v.gtin,
            department=v.department,
        )
        for code, v in variants.items()
    }
    return msgspec.structs.replace(
        truth, variants=kept, shown=shown, exports=write.n, writes=[*truth.writes, write][-WRITES_KEPT:],
    )


def with_sales(truth: Truth, sales: list[str]) -> Truth:
    """The truth with the natural ids of all sale lines so far."""
    return msgspec.structs.replace(truth, sales=list(sales), sold=len(sales))


def with_orders(truth: Truth, journal: list[SoldLine]) -> Truth:
    """The truth with what became of every web order, by its import files and the journal."""
    ours = [line for line in journal if line.order]
    counted = frozenset(truth.sales[: truth.shown]) if ours else frozenset()
    told = orders_told(truth.imports, ours, counted, truth.orders, truth.exports)
    return msgspec.structs.replace(truth, orders=told)


def variants_of(truth: Truth) -> tuple[Variant, ...]:
    """The shop's items as the last completed export showed them."""
    return tuple(_as_variant(code, kept) for code, kept in sorted(truth.variants.items()))


def _as_variant(code: str, kept: TruthVariant) -> Variant:
    return Variant(
        code=code, gtin=kept.gtin, title=kept.title, department=kept.department, on_hand=kept.on_hand,
        list_price=kept.list_price, sale_price=kept.sale_price,
    )
