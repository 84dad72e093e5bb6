"""A call that is only asked about: the options that say who makes it and what it asks."""

from collections.abc import Callable
from typing import Any

import click

from tollkeeper.core.call import Ask, Attribution, Call, Endpoint, Metering
from tollkeeper.core.errors import ConfigError
from tollkeeper.core.principal import Assurance, Principal

_OPTIONS = (
    click.option("--as", "who", metavar="WHO", help="The principal.  [you]"),
    click.option("--model", metavar="MODEL", help="The model asked for."),
    click.option("--provider", default=None, metavar="NAME", help="The provider asked.  [the model's maker]"),
    click.option("--group", "groups", multiple=True, metavar="NAME", help="A group of the principal; may be repeated."),
    click.option("--issuer", default="local", metavar="NAME", help="Who vouches for the principal.  [local]"),
    click.option("--assurance", type=click.Choice(list(Assurance)), default=None, help="How sure that is.  [local-login]"),
    click.option("--project", default="", metavar="NAME", help="The project."),
    click.option("--branch", default="", metavar="NAME", help="The branch."),
    click.option("--tool", default="", metavar="NAME", help="The client, as in claude-code."),
    click.option("--session", default="", metavar="ID", help="The session."),
    click.option("--run", "run", default="", metavar="ID", help="The CI run."),
    click.option("--agent-class", default="", metavar="NAME", help="The kind of agent."),
    click.option("--operation", default="chat", metavar="NAME", help="The operation.  [chat]"),
    click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label; may be repeated."),
    click.option("--max-output-tokens", type=click.IntRange(1), default=None, help="The cap the request names.  [none]"),
    click.option("--input-tokens", type=click.IntRange(0), default=1_000, show_default=True, help="About how much goes in."),
)


def asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that describe a call."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def call_from(asked: dict[str, Any], at: int) -> Call:
    """The call that the options describe. Raises ``ConfigError``."""
    from tollkeeper.identity.local import local_principal

    here = local_principal()
    labels = []
    for text in asked["labels"]:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ConfigError(f'--label "{text[:60]}" is not NAME=VALUE; write it like --label team=ml')
        labels.append((name, value))
    model = asked["model"]
    return Call(
        id="0" * 26,
        started_at=at,
        endpoint=Endpoint(
            provider=asked["provider"] or _maker_of(model or ""),
            host="",
            path="",
            operation=asked["operation"],
            metering=Metering.METERED,
            dialect="any",
        ),
        ask=Ask(model=model, max_output_tokens=asked["max_output_tokens"], input_bytes=asked["input_tokens"] * 3),
        principal=Principal(
            subject=asked["who"] or here.subject,
            issuer=asked["issuer"],
            channel="asked",
            assurance=Assurance(asked["assurance"] or here.assurance),
            groups=frozenset(asked["groups"]),
        ),
        attribution=Attribution(
            project=asked["project"],
            client=asked["tool"],
            session=asked["session"],
            branch=asked["branch"],
            run=asked["run"],
            agent_class=asked["agent_class"],
            tags=tuple(sorted(labels)),
        ),
    )


def _maker_of(model: str) -> str:
    makers = {"claude": "anthropic", "gpt": "openai", "o1": "openai", "o3": "openai", "o4": "openai", "gemini": "google"}
    return next((maker for beginning, maker in makers.items() if model.startswith(beginning)), "openai")
