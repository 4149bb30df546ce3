"""`escrutinio-aggregator`: the commands of operators. The modules of a command are imported when it runs."""

import gc

import click

from aggregator.cli import operating, replaying
from runtime.commands import Group


@click.group(cls=Group, name="escrutinio-aggregator")
@click.version_option(package_name="escrutinio")
def main() -> None:
    """Add the official updates on the log up into running totals.

    Query the totals with escrutinio.

    \b
    Example: escrutinio-aggregator run --until-caught-up
    """
    # The state is a million small objects that live as long as the process: the default collector would visit
    # them again and again, for a third of the run time on the real night.
    gc.set_threshold(200_000, 20, 100)


for command in (
    operating.run,
    operating.status,
    replaying.replay,
    replaying.verify,
    replaying.notices,
    operating.rebuild,
    operating.take_over,
    operating.projections,
    operating.drop,
    operating.migrate,
):
    main.add_command(command)
