"""Errors as a person meets them."""

import click

from supreme_core.errors import SupremeError


def tell(error: SupremeError) -> int:
    """Print the lines of an error on standard error and return the exit status."""
    for line in str(error).splitlines():
        click.echo(f"error: {line}", err=True)
    return error.exit_code
