"""The output of `check`: one JSON document in its shape, whatever the file, and words for people without --json."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

from tillbridge_agent.cli.check import check

HERE = Path(__file__).parent
CASES = HERE / "readers" / "delimited"
SCHEMA = json.loads((HERE / "cli" / "agent-check.schema.json").read_text(encoding="utf-8"))


def run(*arguments: str | Path) -> Result:
    """`check` with these arguments."""
    return CliRunner().invoke(check, [str(argument) for argument in arguments])


@pytest.mark.parametrize("schema", sorted((HERE / "cli").glob("*.schema.json")), ids=lambda path: path.name)
def test_schemas_are_schemas(schema: Path) -> None:
    """A misspelt schema keyword would check nothing."""
    loaded = json.loads(schema.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(loaded)
    assert "v" in loaded["required"]


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_every_document_has_its_shape(case: str) -> None:
    """All keys are there, arrays are sorted by their first key, and the exit code says whether something was found."""
    (file,) = (CASES / case).glob("input.*")
    result = run(CASES / case / "feed.toml", file, "--json")
    document = json.loads(result.stdout)
    Draft202012Validator(SCHEMA).validate(document)
    for name, key in (("reasons", "code"), ("problems", "line"), ("records", "kind"), ("changes", "kind")):
        values = [entry[key] for entry in document[name]]
        assert values == sorted(values), name
    found = document["verdict"] != "accept" or bool(document["problems"]) or bool(document["reasons"])
    assert result.exit_code == int(found)
    rows = document["rows"]
    assert rows["read"] == rows["accepted"] + rows["rejected"] + rows["filtered"]


@pytest.mark.parametrize("data", [b"", b"\n", b"a;b\n", b"\x00\x01", b"No;Name\n", b"\xff\xfe"])
def test_a_file_of_no_use_has_the_shape_too(tmp_path: Path, data: bytes) -> None:
    """Empty lists and nulls, never missing keys."""
    file = tmp_path / "x.csv"
    file.write_bytes(data)
    result = run(CASES / "spreadsheet-damage" / "feed.toml", file, "--json")
    document = json.loads(result.stdout)
    Draft202012Validator(SCHEMA).validate(document)
    assert (document["records"], result.exit_code) == ([], 1)
    assert document["reasons"]


def test_limit_bounds_records_and_changes(tmp_path: Path) -> None:
    """Twenty by default, all with 0; counts are of the whole file."""
    file = tmp_path / "x.csv"
    file.write_text("Nr;Store;Stock\n" + "".join(f"{number};01;5\n" for number in range(100)), encoding="utf-8")
    feed = CASES / "wrong-location" / "feed.toml"
    for arguments, shown in (([], 20), (["--limit", "3"], 3), (["--limit", "0"], 100)):
        document = json.loads(run(feed, file, "--json", *arguments).stdout)
        assert (len(document["records"]), len(document["changes"])) == (shown, shown)
        assert (document["rows"]["read"], document["delta"]["new"]) == (100, 100)


def test_all_means_all_problems(tmp_path: Path) -> None:
    """Beyond the problems that are kept, --limit 0 still shows every one."""
    file = tmp_path / "x.csv"
    file.write_text("Nr;Store;Stock\n1;01;5\n" + "x;01;many\n" * 1200, encoding="utf-8")
    document = json.loads(run(CASES / "wrong-location" / "feed.toml", file, "--json", "--limit", "0").stdout)
    assert len(document["problems"]) == 1200
    assert document["problems"][-1]["line"] == 1202


def test_without_json_it_speaks() -> None:
    """The verdict, the counts, and each problem with what to do."""
    text = run(CASES / "bad-rows" / "feed.toml", CASES / "bad-rows" / "input.csv").stdout
    assert "Would be accepted." in text
    assert "Rows: 14 read, 7 accepted, 6 refused, 1 left out on purpose." in text
    assert "line 2, VK: “12,5,0” has two decimal marks. It could be 12,5 or 1,250." in text
    assert "Correct the number in the till and export again." in text
    held = run(CASES / "wrong-location" / "feed.toml", CASES / "wrong-location" / "input.csv").stdout
    assert "Would be held until a person decides." in held
    assert "One row is of another store" in held


def test_changes_are_told_in_words() -> None:
    """What was, what is, what is gone."""
    case = CASES / "reappearing-2-gone"
    text = run(case / "feed.toml", case / "input.csv", "--against", case / "before.csv").stdout
    assert "1 gone, 2 as before." in text
    assert "  stock_level 0070014: gone" in text
    back = CASES / "reappearing-1-first" / "input.csv"
    assert "  price 0070014: new" in run(case / "feed.toml", back, "--against", case / "input.csv").stdout


def test_a_changed_value_is_told_with_what_it_was(tmp_path: Path) -> None:
    """Old → new, field by field."""
    case = CASES / "reappearing-1-first"
    changed = tmp_path / "next.csv"
    changed.write_bytes((case / "input.csv").read_bytes().replace(b"\t5\t", b"\t8\t").replace(b"9,95", b"0,00"))
    text = run(case / "feed.toml", changed, "--against", case / "input.csv").stdout
    assert "  stock_level 0070014: on_hand 5 → 8" in text
    assert "  price 0070014: sale_price 9.95 → unknown" in text


def test_configuration_mistakes_end_with_2(tmp_path: Path) -> None:
    """File and key are named on stderr; stdout stays empty for scripts."""
    file = CASES / "bad-rows" / "input.csv"
    bad = tmp_path / "feed.toml"
    bad.write_text('name = "x"\n[reader]\nseperator = ";"\n[mapping]\nkey = ["A"]\n', encoding="utf-8")
    result = run(bad, file, "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{bad}: reader.seperator" in result.stderr
    assert "Did you mean 'separator'?" in result.stderr
    assert run(tmp_path / "none.toml", file).exit_code == 2
    assert run(CASES / "bad-rows" / "feed.toml", tmp_path / "none.csv").exit_code == 2
    assert run("stock", file, "--config", tmp_path / "agent.toml").exit_code == 2


def test_a_feed_by_its_name(tmp_path: Path) -> None:
    """A configured feed is checked as the agent would read it."""
    config = tmp_path / "agent.toml"
    (tmp_path / "feeds").mkdir()
    feed = (CASES / "wrong-location" / "feed.toml").read_text(encoding="utf-8")
    feed = feed.replace("[reader]", '[source]\npath = "."\npattern = "*.csv"\n[reader]')
    (tmp_path / "feeds" / "one.toml").write_text(feed, encoding="utf-8")
    config.write_text('feed_files = ["feeds/*.toml"]\n', encoding="utf-8")
    case = CASES / "other-locations-skipped"
    result = run("store-01", case / "input.csv", "--config", config, "--json")
    assert json.loads(result.stdout)["feed"] == "store-01"
    assert json.loads(result.stdout)["verdict"] == "hold"
