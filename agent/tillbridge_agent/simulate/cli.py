"""`tillbridge-agent simulate`: the command line of the simulated machines."""

import signal
from pathlib import Path
from types import FrameType

import click
import msgspec

from tillbridge_agent.simulate.pos import Pos, PosOptions


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
def pos(
    folder: Path, truth: Path, seed: int, variants: int, seconds: float | None, interval: float, settle: float,
    broken: bool,
) -> None:
    """A POS that keeps selling, rewrites its stock export in place and appends to a sales journal.

    A file named `stop` beside the folder, or the end of --seconds, stops the selling; one last export is
    written. Ctrl-C ends after the write under way.
    """
    options = PosOptions(
        folder=folder, truth=truth, seed=seed, variants=variants, seconds=seconds, interval_s=interval,
        settle_s=settle, broken=broken,
    )
    try:
        machine = Pos(options, lambda words: click.echo(words, err=True))
    except (msgspec.MsgspecError, OSError) as error:
        click.echo(f"{truth} cannot be continued from: {error}. Move it away to open a new shop.", err=True)
        raise SystemExit(2) from error

    def stop(_number: int, _frame: FrameType | None) -> None:
        machine.interrupt()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    left = machine.run()
    click.echo(f"Closed with {left.exports} exports and {left.sold} sale lines.", err=True)
