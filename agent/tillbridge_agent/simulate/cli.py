"""`tillbridge-agent simulate`: the command line of the simulated machines."""

import datetime as dt
import signal
import sys
from pathlib import Path
from types import FrameType

import click
import msgspec

from tillbridge_agent.simulate.desk import DeskOptions
from tillbridge_agent.simulate.pos import OldJournal, Pos, PosOptions
from tillbridge_agent.simulate.scanner import Scanner, ScannerOptions, read_labels


@click.group("simulate")
def simulate() -> None:
    """Simulated machines of a store, for trying things out without a till."""


@simulate.command("pos")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), required=True,
              help="Where the export and the sales journal are written.")
@click.option("--truth", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="The JSON file the simulator keeps its state in; a run continues from it.")
@click.option("--seed", type=int, default=1, show_default=True, help="Decides the assortment and what is sold.")
@click.option("--variants", type=click.IntRange(1, 100_000), default=200, show_default=True,
              help="How many variants a new shop has.")
@click.option("--seconds", type=click.FloatRange(min=0), default=None, help="Stop selling after so many seconds.")
@click.option("--interval", type=click.FloatRange(min=0.05), default=1.2, show_default=True,
              help="Seconds between the end of one export and the start of the next.")
@click.option("--settle", type=click.FloatRange(min=0), default=0.5, show_default=True,
              help="The settle time of the feed that reads it; only noted in the truth.")
@click.option("--broken", is_flag=True, help="Drop one broken file into the folder at the start.")
@click.option("--orders", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Import web orders from this folder (ORD*.CSV) and sell them.")
@click.option("--answers", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Where the answers to web orders go.  [default: answers in the folder of --orders]")
@click.option("--refuse", type=click.IntRange(min=0), default=0, help="Say no to every n-th web order.")
@click.option("--no-answers", is_flag=True, help="Import web orders without a word.")
@click.option("--slow-import", type=click.FloatRange(min=0), default=0, help="Let import files lie so many seconds.")
def pos(
    folder: Path, truth: Path, seed: int, variants: int, seconds: float | None, interval: float, settle: float,
    broken: bool, orders: Path | None, answers: Path | None, refuse: int, no_answers: bool, slow_import: float,
) -> None:
    """A POS that keeps selling, rewrites its stock export in place and appends to a sales journal.

    A file named `stop` beside the folder, or the end of --seconds, stops the selling; one last export is
    written. Ctrl-C ends after the write under way.
    """
    desk = None if orders is None else DeskOptions(
        folder=orders, answers=answers or orders / "answers", refuse_every=refuse, answer=not no_answers,
        slow_s=slow_import,
    )
    options = PosOptions(
        folder=folder, truth=truth, seed=seed, variants=variants, seconds=seconds, interval_s=interval,
        settle_s=settle, broken=broken, desk=desk,
    )
    try:
        machine = Pos(options, lambda words: click.echo(words, err=True))
    except (msgspec.MsgspecError, OSError) as error:
        click.echo(f"{truth} cannot be continued from: {error}. Move it away to open a new shop.", err=True)
        raise SystemExit(2) from error
    except OldJournal as error:
        click.echo(f"{error}. Move it and {truth} away to open a new shop (the demo: `make clean`).", err=True)
        raise SystemExit(2) from error

    def stop(_number: int, _frame: FrameType | None) -> None:
        machine.interrupt()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    left = machine.run()
    click.echo(f"Closed with {left.exports} exports and {left.sold} sale lines.", err=True)


def _mark(_context: click.Context, _parameter: click.Parameter, text: str) -> bytes:
    """The bytes of a mark written as `\\r` or `\\x02`."""
    try:
        return text.encode("ascii").decode("unicode_escape").encode("latin-1")
    except UnicodeError as error:
        raise click.BadParameter(f"{text!r} are no bytes: write them as \\r or \\x02.") from error


@simulate.command("scanner")
@click.option("--link", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="Where the port stands: the `path` of the device.")
@click.option("--log", type=click.Path(path_type=Path, dir_okay=False), default=None,
              help="Append each delivered label to this file, one JSON document in a line.")
@click.option("--count", type=click.IntRange(min=1), default=None, help="Stop after so many delivered labels.")
@click.option("--rate", type=click.FloatRange(min=0), default=1.0, show_default=True,
              help="Scans per second; 0 is as many as are taken.")
@click.option("--seed", type=int, default=1, show_default=True, help="Decides labels and accidents.")
@click.option("--labels", type=click.Path(path_type=Path, dir_okay=False, exists=True), default=None,
              help="Scan labels of this file, one in a line.  [default: made up]")
@click.option("--prefix", callback=_mark, default="", help="What is sent before a label, as \\x02.")
@click.option("--suffix", callback=_mark, default="\\r", show_default=True, help="What is sent behind a label.")
@click.option("--aim", is_flag=True, help="Send the AIM id of each label.")
@click.option("--ack", is_flag=True, help="Wait for an ACK (0x06) and send the label again when none comes.")
@click.option("--ack-wait", type=click.FloatRange(min=0.1), default=2.0, show_default=True,
              help="Seconds to wait for an ACK.")
@click.option("--unplug", type=click.FloatRange(0, 1), default=0, help="Part of the labels at which the cable goes.")
@click.option("--noise", type=click.FloatRange(0, 1), default=0, help="Part of the labels with noise before them.")
def scanner(
    link: Path, log: Path | None, count: int | None, rate: float, seed: int, labels: Path | None, prefix: bytes,
    suffix: bytes, aim: bool, ack: bool, ack_wait: float, unplug: float, noise: float,
) -> None:
    """A scanner on a serial port that is not there: a pseudo terminal, at --link for as long as this runs.

    It never scans one label twice in a row. Ctrl-C unplugs it and ends.
    """
    if sys.platform == "win32":
        click.echo("Windows has no pseudo terminals; connect a real scanner.", err=True)
        raise SystemExit(2)
    options = ScannerOptions(
        link=link, log=log, count=count, rate=rate, seed=seed, prefix=prefix, suffix=suffix, aim=aim, ack=ack,
        ack_wait_s=ack_wait, unplug=unplug, noise=noise, labels=tuple(read_labels(labels)) if labels else (),
    )
    machine = Scanner(options, lambda: dt.datetime.now(dt.UTC))

    def stop(_number: int, _frame: FrameType | None) -> None:
        machine.interrupt()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        done = machine.run()
    except OSError as error:
        click.echo(f"The scanner cannot go on: {error}. Check the folders of --link and --log.", err=True)
        raise SystemExit(2) from error
    click.echo(f"{done.delivered} labels delivered, {done.sent} sent, unplugged {done.unplugged} times.", err=True)
