"""The zone of this machine for commands that were told none."""

import os

import click


def local_zone_name() -> str:
    """Its IANA name. Says on standard error when ``TZ`` asks for something else."""
    from tollkeeper.report.local_zone import local_zone

    found = local_zone(os.environ)
    if found.said:
        click.echo(f"tollkeeper: {found.said}", err=True)
    return found.name
