"""server.toml: every mistake ends with file and key, in words a person can act on."""

from pathlib import Path

import pytest

from tillbridge_server.config import load_config
from tillbridge_server.errors import ConfigError

SERVER = """
name = "Fennel"
[[storefronts]]
id = "window"
title = "Shop window"
connector = "shop_window"
currency = "CHF"
buffer = "0"
[owners]
price = ["head-office/prices", "stock"]
"product.title" = ["erp"]
[backup]
at = "02:30"
"""


def loaded(folder: Path, text: str) -> object:
    """The configuration this text gives."""
    path = folder / "server.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path).owners


def test_owners_are_of_kinds_and_their_fields(tmp_path: Path) -> None:
    """A kind, or one field of it."""
    assert loaded(tmp_path, SERVER) == {"price": ("head-office/prices", "stock"), "product.title": ("erp",)}


@pytest.mark.parametrize(("old", "new", "key", "told"), [
    ("name = ", "nam = ", "nam", "not known"),
    ('name = "Fennel"', "", "name", "missing"),
    ("currency", "currncy", "storefronts[0].currncy", "not known"),
    ('buffer = "0"', 'buffer = "x"', "storefronts[0].buffer", "decimal"),
    ('at = "02:30"', 'at = "25:30"', "backup.at", "regex"),
    ("[owners]", "[ownrs]", "ownrs", "not known"),
    ("price = [", "prize = [", "owners.prize", "no kind"),
    ('"product.title"', '"product.titel"', "owners.product.titel", "no field"),
    ('"product.title"', '"sale_line"', "owners.sale_line", "no kind"),
])
def test_a_mistake_names_file_and_key(tmp_path: Path, old: str, new: str, key: str, told: str) -> None:
    """An owner nobody asks for would leave the disagreement it was written for."""
    assert old in SERVER
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, SERVER.replace(old, new))
    error = refused.value
    assert (Path(error.file).name, error.key) == ("server.toml", key)
    assert told in str(error)
    assert "`$" not in str(error)


def test_storefronts_whose_order_numbers_begin_alike(tmp_path: Path) -> None:
    """Two orders could get one number: the ids must differ in what the numbers keep of them."""
    one = SERVER[SERVER.index("[[storefronts]]"):SERVER.index("[owners]")]
    both = SERVER.replace(one, one.replace('"window"', '"web-shop"') + one.replace('"window"', '"webshop"'))
    with pytest.raises(ConfigError) as raised:
        loaded(tmp_path, both)
    assert "would both begin with WEBSHOP-" in raised.value.message
