"""A call that is only asked about: the options that say who makes it and what it asks."""

from collections.abc import Callable
from typing import Any, Final

import click

from tollkeeper.core.call import Ask, Attribution, Call, Endpoint, Metering
from tollkeeper.core.clock import system_clock
from tollkeeper.core.errors import ConfigError
from tollkeeper.core.paths import home
from tollkeeper.core.principal import Assurance, Principal


class AssuranceChoice(click.Choice[str]):
    """The words of the policy document (``local-login``), and the names they have in code (``LOCAL_LOGIN``)."""

    def __init__(self) -> None:
        super().__init__([assurance.value for assurance in Assurance], case_sensitive=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word."""
        return super().convert(str(value).replace("_", "-"), param, ctx)


_OPTIONS = (
    click.option("--as", "who", metavar="WHO", help="The principal.  [whom calls from here are booked to]"),
    click.option("--model", metavar="MODEL", help="The model asked for."),
    click.option("--provider", default=None, metavar="NAME", help="The provider asked.  [the model's maker]"),
    click.option("--group", "groups", multiple=True, metavar="NAME", help="A group of the principal; may be repeated."),
    click.option(
        "--issuer",
        metavar="NAME",
        help="Who vouches for WHO: a name in identity.toml, an issuer's address, or local.  [the only issuer there; else local]",
    ),
    click.option("--assurance", type=AssuranceChoice(), default=None, help="How sure that is.  [local-login]"),
    click.option("--project", default="", metavar="NAME", help="The project."),
    click.option("--branch", default="", metavar="NAME", help="The branch."),
    click.option("--tool", default="", metavar="NAME", help="The client, as in claude-code."),
    click.option("--session", default="", metavar="ID", help="The session."),
    click.option("--run", "run", default="", metavar="ID", help="The CI run."),
    click.option("--agent-class", default="", metavar="NAME", help="The kind of agent."),
    click.option("--os-user", default=None, metavar="NAME", help="The login name the call comes from.  [yours, without --as]"),
    click.option("--process", default="", metavar="NAME", help="The program it comes from."),
    click.option("--container", default="", metavar="ID", help="The container it comes from."),
    click.option("--operation", default="chat", metavar="NAME", help="The operation.  [chat]"),
    click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label; may be repeated."),
    click.option("--max-output-tokens", type=click.IntRange(1), default=None, help="The cap the request names.  [none]"),
    click.option("--input-tokens", type=click.IntRange(0), default=1_000, show_default=True, help="About how much goes in."),
)


NOTHING_ASKED: Final = {
    "model": None, "provider": None, "groups": (), "project": "", "branch": "", "tool": "", "session": "", "run": "",
    "agent_class": "", "os_user": None, "process": "", "container": "", "operation": "chat", "labels": (),
    "max_output_tokens": None, "input_tokens": 0,
}  # fmt: skip
"""The options but those that say who, where none is given."""


def asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that describe a call."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def call_from(asked: dict[str, Any], at: int) -> Call:
    """The call that the options describe. Raises ``ConfigError``."""
    from tollkeeper.identity.local import local_principal

    principal = _principal(asked)
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
        principal=principal,
        attribution=Attribution(
            project=asked["project"],
            client=asked["tool"],
            session=asked["session"],
            branch=asked["branch"],
            run=asked["run"],
            agent_class=asked["agent_class"],
            os_user=(local_principal().subject if asked["who"] is None else "") if asked["os_user"] is None else asked["os_user"],
            process=asked["process"],
            container=asked["container"],
            tags=tuple(sorted(labels)),
        ),
    )


def authority_of(who: str, issuer: str | None) -> str:
    """Whose ``who`` it is, as calls and grants are booked: the address of the issuer that is named, by default of the only one there is.

    ``local`` (or nothing) is this machine itself. Raises ``ConfigError`` when the name is not known, or was needed.
    """
    from tollkeeper.core.principal import HERE
    from tollkeeper.identity.config import load_identity
    from tollkeeper.identity.desk import Folder

    rows = {row.name: row.authority for row in load_identity(Folder(home().root).document).issuers}
    choices = ", ".join([*rows, "local"])
    if issuer is not None:
        if issuer not in rows and issuer not in HERE and "://" not in issuer:
            raise ConfigError(f'--issuer "{issuer[:100]}" is no issuer of identity.toml; it is one of {choices}, or an address')
        return rows.get(issuer, issuer)
    if len(set(rows.values())) > 1:
        raise ConfigError(f'which "{who[:100]}"? A name is only unique at its issuer: add --issuer, one of {choices}')
    return next(iter(rows.values()), "")


def call_of_nobody(at: int) -> Call:
    """A call from here of which nothing is known but whom it is booked to. Raises ``ConfigError``."""
    return call_from({**NOTHING_ASKED, "who": None, "issuer": None, "assurance": None}, at)


def _principal(asked: dict[str, Any]) -> Principal:
    """Who makes the call. Without options whoever a running proxy books calls from here to: the last login, else the OS user."""
    from tollkeeper.identity.config import load_identity
    from tollkeeper.identity.desk import Folder
    from tollkeeper.identity.here import booked_to

    folder = Folder(home().root)
    config = load_identity(folder.document)
    here = booked_to(config, folder.login, system_clock)
    who, issuer = asked["who"], asked["issuer"]
    subject = who or here.subject
    is_you = issuer is None and subject == here.subject
    authority = here.issuer if is_you else authority_of(subject, issuer) or "local"
    is_here = (subject, authority) == (here.subject, here.issuer)
    return config.grouped(
        Principal(
            subject=subject,
            issuer=authority,
            channel="asked",
            assurance=Assurance(asked["assurance"] or here.assurance),
            groups=frozenset(asked["groups"]) | (here.groups if is_here else frozenset()),
        )
    )


def _maker_of(model: str) -> str:
    makers = {"claude": "anthropic", "gpt": "openai", "o1": "openai", "o3": "openai", "o4": "openai", "gemini": "google"}
    return next((maker for beginning, maker in makers.items() if model.startswith(beginning)), "openai")
