"""`escrutinio-aggregator`: one command per question. Alone reads configuration; exit codes are 0 done and true, 1 a
negative answer, 2 wrong use or something that cannot be read or reached.
"""

import gc

import click

from aggregator.cli import operating, reading, replaying


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="escrutinio")
def main() -> None:
    """Adds the official updates on the log up into running totals, and explains every one.

    \b
    Example: escrutinio-aggregator show pe-2021-president-runoff
    """
    # The state is a million small objects that live as long as the process: the default collector would walk
    # them again and again. Measured on the real night: a third of the time.
    gc.set_threshold(200_000, 20, 100)


for command in (
    operating.migrate,
    operating.run,
    reading.status,
    reading.show,
    reading.diff,
    reading.timeline,
    reading.explain,
    replaying.replay,
    replaying.verify,
    operating.rebuild,
    operating.take_over,
    operating.projections,
    operating.drop,
):
    main.add_command(command)
