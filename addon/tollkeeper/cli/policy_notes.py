"""Names in a policy that nothing answers to, by the files beside it: prices.toml, hosts.toml, identity.toml.

None of it is an error, since a document may be written for another machine; all of it means that a rule never does what it says.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tollkeeper.core.decision import Target
from tollkeeper.core.errors import TollkeeperError
from tollkeeper.core.paths import home
from tollkeeper.core.principal import HERE
from tollkeeper.core.toml_lines import nearest
from tollkeeper.policy.model import Field, FieldGlobs, Policy

from .prices import GUESSED_PROVIDERS


def names_of_nothing(policy: Policy, at: int) -> Iterator[str]:
    """A note for each such name; also where a file that would tell cannot be read."""
    yield from _unpriced(policy, at)
    yield from _unknown_providers(policy)
    yield from _issuers_by_row(policy)


def _scopes(policy: Policy) -> Iterator[tuple[str, FieldGlobs]]:
    """Every scope with the rule it is of."""
    yield from ((f'budget "{budget.name}"', budget.scope) for budget in policy.budgets)
    for rule in policy.models:
        yield from ((f'rule "{rule.name}"', scope.fields) for scope in (rule.scope, *rule.exempt))
    yield from ((f'route "{route.name}"', route.scope.fields) for route in policy.routes)


def _exact(policy: Policy, field: Field) -> Iterator[tuple[str, str]]:
    """What the scopes name of a field, patterns left out, with the rule that names it."""
    for whose, scope in _scopes(policy):
        yield from ((whose, glob.pattern) for glob in dict(scope).get(field, ()) if glob.is_exact)


def _targets(policy: Policy) -> Iterator[tuple[str, Target]]:
    """Every place that calls are sent to, with the rule that sends them."""
    for budget in policy.budgets:
        yield from ((f'budget "{budget.name}"', target) for target in budget.on_exceed.downgrade)
    for rule in policy.models:
        yield from ((f'rule "{rule.name}"', target) for target in rule.on_exceed.downgrade)
    for route in policy.routes:
        targets: Iterable[Target] = (*(split.target for split in route.splits), *route.fallback)
        yield from ((f'route "{route.name}"', target) for target in targets)


def _unpriced(policy: Policy, at: int) -> Iterator[str]:
    """A rewrite to a model without a price never happens, so a misspelt name would go unnoticed."""
    models = dict.fromkeys(model for budget in policy.budgets for model in budget.rewrite)
    if not models:
        return
    from tollkeeper.pricing.book import PriceBook  # half a second: only for policies that need it

    try:
        book = PriceBook.load(home().prices if home().prices.exists() else None)
    except TollkeeperError as error:
        yield f"whether the models to move to have prices is not checked: {error}"
        return
    listed = {one.model for one in book.models(at)}
    for model in models:
        if model not in listed and not any(book.price_of(provider, model, at) for provider in GUESSED_PROVIDERS):
            yield f'no price is known for "{model}", so no call is ever moved to it{_meant(model, listed)}'


def _unknown_providers(policy: Policy) -> Iterator[str]:
    named = [(whose, target.provider) for whose, target in _targets(policy) if target.provider]
    named += _exact(policy, Field.PROVIDER)
    if not named:
        return
    from tollkeeper.gate.extra_hosts import host_table

    try:
        known = host_table(home().hosts).providers()
    except TollkeeperError as error:
        yield f"whether there are providers of these names is not checked: {error}"
        return
    for whose, provider in dict.fromkeys(named):
        if provider not in known:
            yield f'{whose} names the provider "{provider}", and none is called that{_meant(provider, known)}'


def _issuers_by_row(policy: Policy) -> Iterator[str]:
    """What a row of identity.toml is called is no issuer of any call: those carry the address, wherever the row is called what."""
    named = list(_exact(policy, Field.ISSUER))
    members = (member.rpartition(" at ")[::2] for member in policy.groups)
    named += [(f'the member "{name}" of a group', issuer) for name, issuer in members if name]
    if not named:
        return
    from tollkeeper.identity.config import load_identity
    from tollkeeper.identity.desk import Folder

    document: Path = Folder(home().root).document
    try:
        rows = {row.name: row.authority for row in load_identity(document).issuers}
    except TollkeeperError as error:
        yield f"whether there are issuers of these names is not checked: {error}"
        return
    for whose, issuer in dict.fromkeys(named):
        if issuer in rows and issuer not in {*HERE, rows[issuer]}:
            yield f'{whose} names the issuer "{issuer}", as identity.toml calls it; calls carry its address: write "{rows[issuer]}"'


def _meant(word: str, known: Iterable[str]) -> str:
    found = nearest(word, known)
    return f'; did you mean "{found}"?' if found else ""
