"""Who a call says it comes from: session, agent, project, user and labels, as clients put them on the wire.

All of it is a claim: anyone can set a header. It divides reports and never decides about money. What is not said stays empty.
Sources: docs/wire.md, "Attribution"; code.claude.com/docs (Claude Code headers), platform.openai.com/docs/api-reference (``user``,
``safety_identifier``, ``metadata``), cloud.google.com/vertex-ai labels, docs.aws.amazon.com Converse ``requestMetadata``,
developers.cloudflare.com/ai-gateway ``cf-aig-metadata``, docs.helicone.ai, portkey.ai/docs.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from tollkeeper.core.call import Attribution

from .counts import Json, member, parse, text

MAX_VALUE_CHARS = 128
"""An id longer than this is dropped, not cut: two cut ids could be taken for one."""

MAX_TAGS = 8
MAX_TAG_CHARS = 64
OF_HEADER = "header:"
"""What the labels begin with that a policy makes of request headers: no label of a caller's own may pass for one."""
MAX_JSON_CHARS = 4096
MAX_SPELLINGS = 4096
_SPELLINGS: dict[bytes, str] = {}
_PROPERTY = b"helicone-property-"

_COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "client_session": (
            "x-claude-code-session-id", "session-id", "session_id", "x-opencode-session", "helicone-session-id",
            "vscode-sessionid", "x-session-id", "conversation_id",
        ),
        "agent": ("x-claude-code-agent-id", "thread-id", "x-agent-task-id"),
        "parent_agent": ("x-claude-code-parent-agent-id", "x-codex-parent-thread-id"),
        "agent_class": ("x-openai-subagent",),
        "initiator": ("x-initiator",),
        "interaction": ("x-interaction-id", "x-opencode-request"),
        "client_project": ("openai-project", "anthropic-workspace-id", "x-opencode-project", "x-goog-user-project"),
        "account": ("chatgpt-account-id", "openai-organization"),
        "end_user": ("x-gemini-api-privileged-user-id", "helicone-user-id"),
    }
)  # fmt: skip
"""Which headers a column is taken from; of several, the first that is there."""

_LABEL_HEADERS = ("cf-aig-metadata", "x-portkey-metadata")
_TURN = "x-codex-turn-metadata"
_ORIGINATOR = "originator"
_APP = "x-app"

_KNOWN = frozenset(name.encode() for names in (*_COLUMNS.values(), _LABEL_HEADERS, (_TURN, _ORIGINATOR, _APP)) for name in names)
_BY_HEADER = {header: (column, rank) for column, headers in _COLUMNS.items() for rank, header in enumerate(headers)}

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@+=|~ -]*")
_TAG_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,40}")
_SECRET = re.compile(
    r"(?:(?:sk|pk|rk|xai|gsk|pplx|hf|gh[pousr]|glpat|xox[a-z])[-_]|AIza|A[KS]IA|eyJ)[A-Za-z0-9_-]{8}|(?i:bearer|basic) "
)
"""What keys and tokens begin with: somebody may put one where an id belongs."""

_CLAUDE_CODE_USER = re.compile(r"user_([0-9a-f]{16,64})_account_([0-9a-fA-F-]{0,36})_session_([0-9a-fA-F-]{36})")
_BILLING_BLOCK = "x-anthropic-billing-header:"
_CODEX_METADATA = MappingProxyType(
    {
        "session_id": "client_session",
        "thread_id": "agent",
        "turn_id": "interaction",
        "parent_thread_id": "parent_agent",
        "x-codex-parent-thread-id": "parent_agent",
        "x-openai-subagent": "agent_class",
    }
)
_LABELS = ("metadata", "labels", "requestMetadata")

type Claims = dict[str, str]


def claims_in(fields: Iterable[tuple[bytes, bytes]]) -> Claims:
    """The request headers that say something here, by lower-case name; nothing else is decoded. Never a credential."""
    found: Claims = {}
    for name, value in fields:
        known = _SPELLINGS.get(name, "?")
        if known == "?":
            known = _spelling(name)
        if known:
            found[known] = value[:MAX_JSON_CHARS].decode("latin-1")
    return found


def _spelling(name: bytes) -> str:
    """The lower-case name of a header that says something here, empty for all others; spellings met before are remembered."""
    lowered = name.lower()
    known = lowered.decode("latin-1") if lowered in _KNOWN or lowered.startswith(_PROPERTY) else ""
    if len(_SPELLINGS) < MAX_SPELLINGS and len(name) < 80:
        _SPELLINGS[name] = known
    return known


def attribute(base: Attribution, claims: Mapping[str, str], body: Json = None) -> Attribution:
    """``base`` with what headers (``claims_in``) and parsed request body say. Never raises, whatever their shape.

    A header beats the body. The ``project``, ``session``, ``branch``, ``run`` and tags of ``base`` are this sidecar's own, and stay.
    """
    found: Claims = {}
    tags: dict[str, str] = {}
    if claims:
        _from_headers(claims, found, tags)
    if isinstance(body, dict):
        _from_body(body, claims, found, tags)
    if not found and not tags:
        return base
    return Attribution(
        project=base.project,
        client=base.client,
        session=base.session,
        branch=base.branch,
        run=base.run,
        os_user=base.os_user,
        process=base.process,
        container=base.container,
        agent=found.get("agent", base.agent),
        parent_agent=found.get("parent_agent", ""),
        agent_class=found.get("agent_class", ""),
        initiator=found.get("initiator", ""),
        interaction=found.get("interaction", ""),
        client_session=found.get("client_session", ""),
        client_project=found.get("client_project", ""),
        account=found.get("account", ""),
        end_user=found.get("end_user", ""),
        tags=tuple(sorted({**tags, **dict(base.tags)}.items())),
    )


def _from_headers(claims: Mapping[str, str], found: Claims, tags: dict[str, str]) -> None:
    ranks: dict[str, int] = {}
    for header, value in claims.items():
        place = _BY_HEADER.get(header)
        if place is not None:
            column, rank = place
            if rank < ranks.get(column, 99) and (known := _id(value)):
                found[column], ranks[column] = known, rank
        elif header == _TURN:
            turn = _parsed(value)
            _take("interaction", turn.get("turn_id"), found)
            _take("client_session", turn.get("session_id"), found)
        elif header == _APP:
            if value == "cli-bg":  # Claude Code's side calls: titles, summaries
                found.setdefault("agent_class", value)
        elif header in _LABEL_HEADERS:
            _label(_parsed(value).items(), tags)
        elif header.startswith("helicone-property-"):
            _label(((header.removeprefix("helicone-property-"), value),), tags)


def _from_body(body: Mapping[str, Json], claims: Mapping[str, str], found: Claims, tags: dict[str, str]) -> None:
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and "user_id" in metadata:
        _anthropic_user(metadata["user_id"], found)
    for key in _LABELS:
        if isinstance(labels := body.get(key), dict):
            _label(((name, value) for name, value in labels.items() if name != "user_id"), tags)
    for key in ("safety_identifier", "user"):
        if key in body:
            _take("end_user", body[key], found)
    if "system" in body:
        _billing_block(body["system"], found, tags)
    if "client_metadata" in body:
        _codex(member(body, "client_metadata"), found)
    if _ORIGINATOR in claims and "prompt_cache_key" in body:  # with Codex, and only there, it is the conversation's id
        _take("client_session", body["prompt_cache_key"], found)
    if "user_prompt_id" in body:  # Code Assist
        _take("interaction", body["user_prompt_id"], found)
        _take("client_project", body.get("project"), found)
        _take("client_session", member(body, "request").get("session_id"), found)


def _anthropic_user(value: Json, found: Claims) -> None:
    """``metadata.user_id``: Claude Code packs device, account and session into it, in an older and a newer form."""
    match = _CLAUDE_CODE_USER.fullmatch(value) if isinstance(value, str) and len(value) < 512 else None
    if match is not None:
        device, account, session = match.groups()
    elif isinstance(value, str) and value.startswith("{"):
        packed = _parsed(value)
        device, account, session = (text(packed.get(key)) for key in ("device_id", "account_uuid", "session_id"))
    else:
        _take("end_user", value, found)
        return
    _take("end_user", device, found)
    _take("account", account, found)
    _take("client_session", session, found)


def _billing_block(system: Json, found: Claims, tags: dict[str, str]) -> None:
    """Claude Code's first system block: ``x-anthropic-billing-header: cc_version=…; cc_entrypoint=cli; cc_is_subagent=true;``."""
    block = system[0] if isinstance(system, list) and system else system
    line = text(block.get("text")) if isinstance(block, dict) else text(block)
    if not line.startswith(_BILLING_BLOCK):
        return
    pairs = (part.strip().partition("=") for part in line[len(_BILLING_BLOCK) : 512].split(";"))
    said = {key: value for key, _, value in pairs if value}
    if said.get("cc_is_subagent") == "true":
        found.setdefault("agent_class", "subagent")
    if (entrypoint := said.get("cc_entrypoint")) is not None:
        _label((("entrypoint", entrypoint),), tags)


def _codex(metadata: Mapping[str, Json], found: Claims) -> None:
    turn = metadata.get(_TURN)
    turn = _parsed(turn) if isinstance(turn, str) else {}
    for key, column in _CODEX_METADATA.items():
        if key in metadata:
            _take(column, metadata[key], found)
        elif key in turn:
            _take(column, turn[key], found)


def looks_like_a_credential(value: str) -> bool:
    """Whether a value begins as keys and tokens do."""
    return _SECRET.match(value) is not None


def _take(column: str, value: Json, found: Claims) -> None:
    if column not in found and (known := _id(value)):
        found[column] = known


def _id(value: Json) -> str | None:
    """An id of at most 128 characters; None for anything else, and for what looks like a credential."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_VALUE_CHARS:
        return None
    value = value.strip()
    return value if _ID.fullmatch(value) and not _SECRET.match(value) else None


def _label(pairs: Iterable[tuple[Json, Json]], tags: dict[str, str]) -> None:
    for name, value in _first(pairs, 4 * MAX_TAGS):
        if len(tags) >= MAX_TAGS:
            return
        known = _id(str(value).lower() if isinstance(value, bool | int) and abs(value) < 2**63 else value)
        if not isinstance(name, str) or name.startswith(OF_HEADER):
            continue
        if known and len(known) <= MAX_TAG_CHARS and _TAG_NAME.fullmatch(name):
            tags.setdefault(name, known)


def _first[T](items: Iterable[T], most: int) -> Iterator[T]:
    for position, item in enumerate(items):
        if position == most:
            return
        yield item


def _parsed(value: str) -> Mapping[str, Json]:
    if len(value) > MAX_JSON_CHARS:
        return {}
    try:
        found = parse(value)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
