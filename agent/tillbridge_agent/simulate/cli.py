"""`tillbridge-agent simulate`: the command line of the simulated machines."""

import signal
from pathlib import Path
from types import FrameType

import click
import msgspec

from tillbridge_agent.simulate.desk import DeskOptions
from tillbridge_agent.simulate.pos import OldJournal, Pos, PosOptions


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
