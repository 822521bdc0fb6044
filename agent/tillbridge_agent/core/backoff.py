"""How long to wait before the next try: full jitter, so that a thousand tills do not return at once."""

from random import Random

BACKOFF_S_MIN = 1.0
BACKOFF_S_MAX = 300.0


def backoff_s(tries: int, rng: Random) -> float:
    """Seconds to wait after `tries` failures in a row (≥ 1): uniform between 0 and the doubled bound."""
    assert tries >= 1
    bound = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2.0 ** min(tries - 1, 20))
    return rng.uniform(0.0, bound)
