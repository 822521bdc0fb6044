"""What a device protocol makes of bytes: a scan, or noise with its reason; and what each reason means for people."""

from dataclasses import dataclass

#: Bytes of noise that are kept as evidence.
SAMPLE_BYTES_MAX = 32

#: Reasons of noise, each with what it most often means and what to do.
NOISE_WORDS = {
    "half": "Half a label came, and no end of it. Compare `suffix` with what the scanner sends behind a label.",
    "line": "Bytes came that no label has (NUL or 0xFF), as when a cable is unplugged or the speed is wrong. "
            "Compare `baud` and `line` with the scanner's.",
    "no_prefix": "Bytes came with no prefix before them. Compare `prefix` with what the scanner sends.",
    "long": "More bytes came than a label may have. Compare `suffix` with what the scanner sends, "
            "or raise `length_max`.",
    "short": "A label was shorter than `length_min`: the rest of it was lost.",
    "aim_missing": "A label came without its AIM id: its beginning was lost, or the scanner does not send the id. "
                   "Switch the id on in the scanner, or say aim = false.",
    "text": "A label held characters that are no text. Compare `encoding`, `prefix` and `suffix` with the scanner's.",
}


@dataclass(frozen=True, slots=True)
class Scanned:
    """One label: its text, its AIM symbology id or None, the bytes it came in, when its first byte was read.

    `began` is on the clock of the caller (seconds). `again` tells that the same label came just before, within
    the time in which the configuration calls that a stammer.
    """

    text: str
    symbology: str | None
    raw: bytes
    began: float
    again: bool = False


@dataclass(frozen=True, slots=True)
class Noise:
    """Bytes that are no label: the reason (a key of NOISE_WORDS), how many, and the first of them."""

    reason: str
    count: int
    sample: bytes


Event = Scanned | Noise


def noise(reason: str, data: bytes | bytearray) -> Noise:
    """The noise of these bytes."""
    assert reason in NOISE_WORDS, reason
    return Noise(reason, len(data), bytes(data[:SAMPLE_BYTES_MAX]))
