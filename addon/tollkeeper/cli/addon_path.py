"""``tollkeeper addon-path``: where the script for plain mitmdump is."""

import click

from tollkeeper.core.resources import package_folder


@click.command()
def command() -> None:
    """Print the path to load with `mitmdump -s "$(tollkeeper addon-path)"`."""
    click.echo(package_folder() / "addon_script.py")
