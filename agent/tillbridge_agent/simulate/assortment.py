"""The assortment of the simulated shop: variants made from a seed, without clock or disk.

Titles carry the letters on which code pages differ (ä, é, ß, œ, ½, –), codes have leading zeros, most
variants have a valid GTIN-13, and some titles need quotes in a ';' separated file.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

CODE_DIGITS = 6
_STEP = Decimal("0.05")

#: title with one place for the variation, department, lowest and highest price, the variations
_PRODUCTS: tuple[tuple[str, str, str, str, tuple[str, ...]], ...] = (
    ("Bratpfanne „Forge“ {}; induktionsgeeignet", "Küche", "49", "129", ("20 cm", "24 cm", "28 cm", "32 cm")),
    ("Gusseisentopf {} oval", "Küche", "119", "329", ("2,8 l", "4,7 l", "6,3 l")),
    ("Crêpière émaillée {}", "Küche", "39", "79", ("24 cm", "28 cm")),
    ("Kochmesser {}", "Messer", "59", "189", ('6"', '8"', '10"')),
    ("Santoku-Messer {} mit Nußholzgriff", "Messer", "69", "149", ("14 cm", "18 cm")),
    ("Gemüsehobel {}", "Küche", "19", "59", ("fein", "grob", "Julienne")),
    ("Käsereibe {}", "Küche", "12", "34", ("fein", "grob", "trommelförmig")),
    ("Spätzlepresse {}", "Küche", "24", "49", ("Edelstahl", "Aluguß")),
    ("Schüssel-Set Glas, {}", "Küche", "15", "45", ("2-teilig", "3-teilig", "5-teilig")),
    ("Backform „Gugelhupf“ {}", "Backen", "18", "44", ("½ l", "1 l", "2½ l")),
    ("Moule à pâtisserie {}", "Backen", "9", "32", ("ronde", "carrée", "cœur", "étoile")),
    ("Teigroller Buche {}", "Backen", "14", "29", ("25 cm", "40 cm")),
    ("Coupe-œuf {}", "Küche", "7", "16", ("rouge", "vert", "inox")),
    ("Pfeffermühle {}", "Tisch", "22", "89", ("10 cm", "18 cm", "30 cm")),
    ("Teekanne Gußeisen {}", "Tisch", "45", "99", ("0,6 l", "1,2 l")),
    ("Théière {}", "Tisch", "29", "69", ("blanche", "émeraude", "bleu nuit")),
    ("Geschirrtuch Leinen, {}", "Textil", "9", "19", ("natur", "blau", "grün", "weiß")),
    ("Schürze {}", "Textil", "25", "55", ("grün", "schwarz", "gestreift")),
    ("Tischläufer {}", "Textil", "19", "49", ("40 × 120 cm", "40 × 160 cm")),
    ("Gießkanne verzinkt {}", "Garten", "24", "59", ("3 l", "5 l", "9 l")),
    ("Rosenschere {}", "Garten", "28", "75", ("links", "rechts", "groß")),
    ("Sämereien „Fenchel – Foeniculum“ {}", "Garten", "3", "8", ("5 g", "20 g")),
    ("Kräutertopf Terrakotta {}", "Garten", "6", "24", ("Ø 12 cm", "Ø 16 cm", "Ø 22 cm")),
    ("Hochbeet Lärche {}", "Garten", "129", "389", ("80 cm", "120 cm", "180 cm")),
    ("Schmiedehammer {}", "Werkzeug", "34", "98", ("500 g", "1000 g", "1500 g")),
    ("Maßstab {}", "Werkzeug", "5", "19", ("1 m", "2 m")),
    ("Schraubendreher-Satz „Präzision“; {}", "Werkzeug", "16", "64", ("6-teilig", "12-teilig")),
    ("Stechbeitel {}", "Werkzeug", "18", "46", ("6 mm", "12 mm", "20 mm", "32 mm")),
    ("Schleifstein Körnung {}", "Messer", "25", "85", ("400", "1000", "3000", "6000")),
    ("Brotkasten {}", "Küche", "39", "119", ("Bambus", "Blech weiß", "Blech crème")),
    ("Einmachglas {} mit Bügelverschluß", "Küche", "3", "12", ("¼ l", "½ l", "1 l", "2 l")),
    ("Honiglöffel {}", "Tisch", "4", "9", ("Buche", "Olive")),
    ("Räucherbrett Zeder, {}", "Grill", "12", "29", ("klein", "groß")),
    ("Grillzange {}", "Grill", "14", "39", ("30 cm", "45 cm")),
    ("Feuerschale „Étincelle“ {}", "Grill", "149", "499", ("60 cm", "80 cm", "100 cm")),
    ("Bienenwachskerze {}", "Wohnen", "5", "25", ("klein", "mittel", "groß")),
)


@dataclass(frozen=True, slots=True)
class Variant:
    """What the till knows of one item. Prices per piece, in the shop's currency; `gtin` may be empty."""

    code: str
    gtin: str
    title: str
    department: str
    on_hand: Decimal
    list_price: Decimal
    sale_price: Decimal | None = None

    @property
    def price_now(self) -> Decimal:
        """What a shopper pays: the sale price while there is one."""
        return self.list_price if self.sale_price is None else self.sale_price


def make_assortment(seed: int, size: int) -> tuple[Variant, ...]:
    """`size` different variants, the same ones for the same seed; sorted by code."""
    rng = random.Random(f"assortment/{seed}")
    titles = _titles()
    codes = sorted(rng.sample(range(7, max(90_000, size * 20)), size))
    return tuple(_variant(rng, code, *next(titles)) for code in codes)


def gtin13(body: str) -> str:
    """Twelve digits with their check digit behind them."""
    assert len(body) == 12
    assert body.isdigit()
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(body))
    return body + str(-total % 10)


def rounded(amount: Decimal) -> Decimal:
    """An amount on the shop's price steps of 0.05, never below one step; two decimals."""
    steps = max((amount / _STEP).to_integral_value(), Decimal(1))
    return (steps * _STEP).quantize(Decimal("0.01"))


def _titles() -> Iterator[tuple[str, str, Decimal, Decimal]]:
    """Title, department and price range of one variant after the other, without an end and without repeats."""
    series = 1
    while True:
        for title, department, low, high, variations in _PRODUCTS:
            for variation in variations:
                name = title.format(variation) + (f", Serie {series}" if series > 1 else "")
                yield name, department, Decimal(low), Decimal(high)
        series += 1


def _variant(
    rng: random.Random, number: int, title: str, department: str, low: Decimal, high: Decimal,
) -> Variant:
    list_price = rounded(low + (high - low) * Decimal(rng.randrange(101)) / 100)
    on_sale = rng.random() < 0.12
    # 761 is the prefix of Swiss makers; every fifteenth item is the shop's own and has no GTIN.
    gtin = "" if rng.random() < 1 / 15 else gtin13(f"761{number:09d}")
    return Variant(
        code=f"{number:0{CODE_DIGITS}d}", gtin=gtin, title=title, department=department,
        on_hand=Decimal(rng.randrange(4, 45)), list_price=list_price,
        sale_price=rounded(list_price * Decimal(100 - rng.randrange(10, 31)) / 100) if on_sale else None,
    )
