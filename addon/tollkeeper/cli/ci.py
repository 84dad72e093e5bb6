"""``tollkeeper ci``: the sidecar of a CI job, from its first step to its last."""

import importlib

import click

STEPS = {
    "start": ("ci_start", "Start the sidecar; print or export what the job's steps need."),
    "step": ("ci_step", "Name what is called from here on, for the summary."),
    "verify": ("ci_verify", "Try every way round the sidecar, from inside the job."),
    "finish": ("ci_finish", "Settle, write summary and artefacts, say whether the job may pass."),
    "settle": ("ci_settle", ""),
    "comment": ("ci_comment", "Write the summary to the pull request: one comment, changed only when it must."),
}


class LazySteps(click.Group):
    """Imports a step's module only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of a job."""
        return list(STEPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The click command of a step, or None."""
        if cmd_name not in STEPS:
            return None
        module = importlib.import_module(f".{STEPS[cmd_name][0]}", __package__)
        command = module.command
        assert isinstance(command, click.Command)  # noqa: S101 — a programming error, not input
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of steps in ``--help``."""
        with formatter.section("Commands"):
            formatter.write_dl([(step, line) for step, (_, line) in STEPS.items() if line])


@click.group(cls=LazySteps)
def command() -> None:
    """Meter a CI job, hold it to its budgets and say what it cost.

    \b
    tollkeeper ci start                    once, first
    tollkeeper ci step "unit tests"        as often as you like
    tollkeeper ci verify                   proves that the sidecar is the only way out
    tollkeeper ci finish --fail-on over    last, also when the job failed
    """  # noqa: D301 — click's mark is the character itself
