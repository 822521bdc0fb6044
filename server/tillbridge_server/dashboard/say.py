"""How times, ages, money and numbers are written on the screens; pure, the moment of reading is given."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from markupsafe import Markup

NBSP = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
UNKNOWN = Markup('<span class="unknown">unknown</span>')
_SIGNS = {"EUR": "€", "GBP": "£", "USD": "$", "CHF": f"CHF{NBSP}", "SEK": f"SEK{NBSP}", "PLN": f"PLN{NBSP}"}
_WEEK = timedelta(days=7)
#: At or below this many pieces shoppers are told the number.
FEW = 3


def decimal_of(value: object) -> Decimal | None:
    """A Decimal out of JSON text; None stays None, and so does what is no number."""
    try:
        return None if value is None else Decimal(str(value))
    except InvalidOperation:
        return None


def number(value: object) -> str:
    """Thousands with a comma, no needless zeros, a real minus sign; "" for None."""
    amount = decimal_of(value)
    if amount is None:
        return ""
    whole = amount == amount.to_integral_value()
    text = f"{amount.quantize(Decimal(1)) if whole else amount.normalize():,f}"
    return text.replace("-", MINUS)


def signed(value: object) -> str:
    """A term of a sum: minus sign where it takes away, no plus sign where it adds."""
    return number(value)


def money(value: object, currency: str) -> str:
    """With its sign and two decimals; "" for None."""
    amount = decimal_of(value)
    if amount is None:
        return ""
    sign = _SIGNS.get(currency, f"{currency}{NBSP}")
    return f"{MINUS if amount < 0 else ''}{sign}{abs(amount):,.2f}"


def stock_words(available: object) -> str:
    """What a shopper reads: In stock, Only 3 left, Out of stock; "" when unknown."""
    amount = decimal_of(available)
    if amount is None:
        return ""
    if amount <= 0:
        return "Out of stock"
    return f"Only {number(amount)} left" if amount <= FEW else "In stock"


def count(n: int, one: str, many: str = "") -> str:
    """The number with its noun: "1 store", "12 stores"."""
    return f"{n:,}{NBSP}{one if n == 1 else many or one + 's'}"


def share(part: int, whole: int) -> int:
    """Whole percent for the length of a bar, 0 to 100."""
    return 0 if whole <= 0 else max(0, min(100, round(part * 100 / whole)))


def bytes_words(n: int) -> str:
    """Free disk and file sizes: "412 MB", "1.5 GB"."""
    size = float(n)
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.1f}{NBSP}{unit}" if unit == "GB" else f"{size:.0f}{NBSP}{unit}"


def length(span: timedelta) -> str:
    """A length of time in at most two units: "21 s", "4 min", "3 h 40 min", "1 d 9 h"."""
    seconds = max(0, int(span.total_seconds()))
    if seconds < 60:
        return f"{seconds}{NBSP}s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes}{NBSP}min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}{NBSP}h" + (f" {minutes}{NBSP}min" if minutes and hours < 10 else "")
    days, hours = divmod(hours, 24)
    return f"{days}{NBSP}d" + (f" {hours}{NBSP}h" if hours and days < 10 else "")


def coarse(span: timedelta) -> str:
    """One unit only, for "… ago": "21 s", "4 min", "3 h", "2 days"."""
    seconds = max(0, int(span.total_seconds()))
    if seconds < 60:
        return f"{seconds}{NBSP}s"
    if seconds < 3600:
        return f"{seconds // 60}{NBSP}min"
    if seconds < 86400:
        return f"{seconds // 3600}{NBSP}h"
    return count(seconds // 86400, "day")


@dataclass(frozen=True)
class Say:
    """Times as the reader of one page sees them: `now` is the moment of reading, `zone` the chain's zone."""

    now: datetime
    zone: ZoneInfo

    def _element(self, at: datetime, text: str, css: str = "at") -> Markup:
        iso = at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return Markup('<time class="{}" datetime="{}" title="{}">{}</time>').format(css, iso, self.exact(at), text)

    def exact(self, at: datetime) -> str:
        """Mon 23 Nov 2026, 14:31:41 Europe/Dublin."""
        local = at.astimezone(self.zone)
        return f"{local:%a} {local.day} {local:%b %Y, %H:%M:%S} {self.zone.key}"

    def day_month(self, at: datetime) -> str:
        """16 Nov, with the year when it is another one."""
        local, today = at.astimezone(self.zone), self.now.astimezone(self.zone)
        year = f" {local.year}" if local.year != today.year else ""
        return f"{local.day}{NBSP}{local:%b}{year}"

    def day(self, iso: str) -> str:
        """A day of data ("2026-03-30") as 30 Mar; what is no day stays as it is."""
        try:
            day = date.fromisoformat(iso)
        except ValueError:
            return iso
        year = f" {day.year}" if day.year != self.now.astimezone(self.zone).year else ""
        return f"{day.day}{NBSP}{day:%b}{year}"

    def ago(self, at: datetime | None, never: str = "never") -> Markup:
        """4 min ago; older than a week: the date."""
        if at is None:
            return Markup('<span class="quiet">{}</span>').format(never)
        span = self.now - at
        text = self.day_month(at) if span >= _WEEK else f"{coarse(span)} ago"
        return self._element(at, text, "ago")

    def age(self, at: datetime | None, never: str = "never") -> Markup:
        """32 min; 1 d 9 h."""
        if at is None:
            return Markup('<span class="quiet">{}</span>').format(never)
        return self._element(at, length(self.now - at))

    def clock(self, at: datetime | None) -> Markup:
        """14:00 today, "Fri 20 Nov, 10:00" before: as-of times are clock times."""
        if at is None:
            return UNKNOWN
        local, today = at.astimezone(self.zone), self.now.astimezone(self.zone)
        if local.date() == today.date():
            return self._element(at, f"{local:%H:%M:%S}")
        return self._element(at, f"{local:%a} {self.day_month(at)}, {local:%H:%M}")

    def day_of(self, at: datetime) -> str:
        """The heading of the timeline this moment stands under."""
        local, today = at.astimezone(self.zone), self.now.astimezone(self.zone)
        if local.date() == today.date():
            return "Today"
        return f"{local:%a} {self.day_month(at)}"

    def short(self, at: datetime) -> Markup:
        """Time of day, for lines under a day's heading."""
        return self._element(at, f"{at.astimezone(self.zone):%H:%M:%S}")
