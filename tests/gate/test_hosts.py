"""The host table: whose a name is, what is opened, and what the CA may sign for."""

import gzip
import json
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.errors import ConfigError
from tollkeeper.gate import hosts
from tollkeeper.gate.hosts import CACHED_HOSTS, UNLISTED, HostTable, KnownHost, bare_name

TABLE = HostTable.load()
RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings" / "exchanges.jsonl.gz"

# fmt: off
PROVIDERS = {
    "openai", "chatgpt", "anthropic", "anthropic-aws", "azure", "github-models", "copilot", "bedrock", "bedrock-mantle",
    "bedrock-agent", "sagemaker", "gemini", "vertex", "code-assist", "openrouter", "cloudflare-gateway", "workers-ai",
    "vercel", "pydantic-gateway", "portkey", "opencode", "charm", "helicone", "braintrust", "xai", "mistral", "cohere",
    "deepseek", "zai", "moonshot", "alibaba", "minimax", "groq", "perplexity", "together", "fireworks", "cerebras",
    "nvidia", "deepinfra", "venice", "sambanova", "huggingface", "snowflake", "watsonx", "databricks", "replicate",
    "deepgram", "elevenlabs", "voyage", "cursor", "writer", "doubleword", "aleph-alpha", "ollama",
    "novita", "nebius", "hyperbolic", "baseten", "ovhcloud", "scaleway", "jina", "inception", "meta", "avian", "arcee",
    "siliconflow", "volcengine", "hunyuan", "qianfan", "stepfun", "upstage", "ai21", "reka", "friendli", "chutes",
    "featherless", "lambda", "nscale", "parasail", "gmi", "morph", "poe", "requesty", "aimlapi", "nano-gpt", "codeium",
    "jetbrains", "tabnine", "amp", "stability", "black-forest-labs", "fal", "runway", "luma", "ideogram", "leonardo",
    "recraft", "kling", "heygen", "assemblyai", "cartesia", "speechmatics", "augment", "amazon-q",
}
# fmt: on


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("eu.api.openai.com", "openai"),
        ("chatgpt.com", "chatgpt"),
        ("api.anthropic.com", "anthropic"),
        ("aws-external-anthropic.us-west-2.api.aws", "anthropic-aws"),
        ("my-resource.openai.azure.com", "azure"),
        ("my-resource.services.ai.azure.com", "azure"),
        ("models.inference.ai.azure.com", "github-models"),
        ("phi.inference.ai.azure.com", "azure"),
        ("api.githubcopilot.com", "copilot"),
        ("proxy.business.githubcopilot.com", "copilot"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "bedrock"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "bedrock"),
        ("bedrock-mantle.eu-west-1.api.aws", "bedrock-mantle"),
        ("generativelanguage.googleapis.com", "gemini"),
        ("us-central1-aiplatform.googleapis.com", "vertex"),
        ("aiplatform.googleapis.com", "vertex"),
        ("aiplatform.eu.rep.googleapis.com", "vertex"),
        ("cloudcode-pa.googleapis.com", "code-assist"),
        ("us.openrouter.ai", "openrouter"),
        ("gateway.ai.cloudflare.com", "cloudflare-gateway"),
        ("api.cloudflare.com", "workers-ai"),
        ("oai.helicone.ai", "helicone"),
        ("us-east-1.api.x.ai", "xai"),
        ("eu-de.ml.cloud.ibm.com", "watsonx"),
        ("dashscope-intl.aliyuncs.com", "alibaba"),
        ("abc.us-east-1.aws.endpoints.huggingface.cloud", "huggingface"),
    ],
)
def test_a_known_host_is_opened_and_has_its_provider(host: str, provider: str) -> None:
    assert TABLE.find(host) == KnownHost(provider, intercept=True, grpc=provider == "xai")


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api2.cursor.sh", "cursor"),
        ("agent.api5.cursor.sh", "cursor"),
        ("runtime.sagemaker.us-east-1.amazonaws.com", "sagemaker"),
        ("bedrock-agent-runtime.eu-west-1.amazonaws.com", "bedrock-agent"),
        ("acme.snowflakecomputing.com", "snowflake"),
        ("dbc-123.cloud.databricks.com", "databricks"),
        ("copilot-api.acme.ghe.com", "copilot"),
        ("bedrock-runtime.zz-new-1.amazonaws.com", "bedrock"),
        ("vpce-1-2.bedrock-runtime.us-east-1.vpce.amazonaws.com", "bedrock"),
        ("zz.api.openai.com", "openai"),
        ("bedrock-mantle.zz-new-1.api.aws", "bedrock-mantle"),
        ("aiplatform.asia.rep.googleapis.com", "vertex"),
    ],
)
def test_a_host_that_cannot_be_metered_is_recognised_and_never_opened(host: str, provider: str) -> None:
    assert TABLE.provider_of(host) == provider
    assert not TABLE.intercepts(host)


@pytest.mark.parametrize(
    "host",
    [
        "www.example.com",
        "openai.com",
        "api.openai.com.evil.com",
        "xapi.openai.com",
        "evil-api.anthropic.com",
        "x.api.anthropic.com",
        "openai.azure.com",
        "amazonaws.com",
        "s3.us-east-1.amazonaws.com",
        "bedrock.us-east-1.amazonaws.com",
        "storage.googleapis.com",
        "evil-us-central1-aiplatform.googleapis.com",
        "github.com",
        "acme.ghe.com",
        "localhost",
        "127.0.0.1",
        "127.0.0.1:443",
        "0x7f.1",
        "1.1",
        "::1",
        "[::1]:443",
        "[2001:db8::1]",
        "",
        ".",
        "..",
        "api..openai.com",
        "api.openai.com..",
        "-api.openai.com",
        "api.openai.com:x",
        "api.openai.com/v1",
        "api.openai.com\x00.evil.com",
        "api.opеnai.com",
        "a" * 300,
        "a." * 150 + "com",
    ],
)
def test_other_names_and_addresses_are_nobodys(host: str) -> None:
    assert TABLE.find(host) is None


@pytest.mark.parametrize("spelling", ["API.OpenAI.com", "api.openai.com.", "api.openai.com:443", "API.OPENAI.COM.:8443"])
def test_case_port_and_final_dot_make_no_difference(spelling: str) -> None:
    assert TABLE.provider_of(spelling) == "openai"


def test_the_table_has_exactly_the_providers_of_the_product() -> None:
    assert set(TABLE.providers()) == PROVIDERS


def test_no_host_is_written_twice() -> None:
    document = tomllib.loads(Path(hosts.__file__).with_name("hosts.toml").read_text())
    written = [pattern for provider in document["provider"] for key in ("hosts", "seen") for pattern in provider.get(key, ())]
    assert sorted(written) == sorted(set(written))


def test_the_ca_may_sign_for_exactly_the_opened_hosts() -> None:
    names = TABLE.permitted_names()
    assert list(names) == sorted(set(names))
    for name in names:
        assert TABLE.intercepts(name) or TABLE.intercepts(f"anything.{name}"), name
    for pattern, known in TABLE._entries():
        sample = pattern.replace("*", "sample")
        covered = any(sample == name or sample.endswith(f".{name}") for name in names)
        assert covered == known.intercept or not TABLE.intercepts(sample), pattern


def test_the_ca_may_sign_for_no_public_cloud_and_no_top_level() -> None:
    names = TABLE.permitted_names()
    for far_too_wide in (
        "amazonaws.com",
        "api.aws",
        "googleapis.com",
        "azure.com",
        "aliyuncs.com",
        "cloudflare.com",
        "github.com",
        "ghe.com",
        "com",
        "ai",
    ):
        assert far_too_wide not in names
    for victim in (
        "s3.us-east-1.amazonaws.com",
        "sts.us-east-1.api.aws",
        "storage.googleapis.com",
        "portal.azure.com",
        "dash.cloudflare.com",
    ):
        assert not any(victim == name or victim.endswith(f".{name}") for name in names)


def test_the_list_of_names_fits_a_certificate_of_ten_kilobytes() -> None:
    """Every connection carries it: with the leaf 10.1 kB, one handshake message, inside the first ten packets (14.6 kB, RFC 6928).

    Tried with chains of 10, 11, 16, 21, 61 and 111 kB over TLS 1.2 and 1.3: Java 17 takes 32,768 bytes of a handshake message at
    most, OpenSSL 3.0 (so curl, Python, Node 20) 100 KiB of certificates; GnuTLS 3.7 took them all.
    """
    assert sum(len(name) + 4 for name in TABLE.permitted_names()) < 9_500


def test_hosts_of_ones_own_are_opened_and_certified() -> None:
    table = TABLE.with_extra(
        {"llm.corp.internal": "vllm", "*.Inference.example.com": "acme", "acme.snowflakecomputing.com": "snowflake"}
    )
    assert table.find("llm.corp.internal:8443") == KnownHost("vllm", intercept=True)
    assert table.find("a.b.inference.example.com") == KnownHost("acme", intercept=True)
    assert table.find("acme.snowflakecomputing.com") == KnownHost("snowflake", intercept=True)
    assert table.find("other.snowflakecomputing.com") == KnownHost("snowflake", intercept=False, reason=UNLISTED)
    assert table.find("copilot-api.acme.ghe.com") == KnownHost("copilot", intercept=False, reason=UNLISTED)
    assert {"llm.corp.internal", "inference.example.com", "acme.snowflakecomputing.com"} <= set(table.permitted_names())
    assert TABLE.find("llm.corp.internal") is None


def test_an_extra_host_wins_over_a_shipped_one() -> None:
    assert TABLE.with_extra({"api.openai.com": "mirror"}).provider_of("api.openai.com") == "mirror"


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("10.0.0.5", "IP address"),
        ("::1", "IP address"),
        ("https://llm.example.com", "not a host name"),
        ("llm.example.com:8443", "not a host name"),
        ("*.com", "top-level"),
        ("a.*.example.com", "not a host name"),
        ("", "not a host name"),
    ],
)
def test_an_extra_host_that_no_certificate_can_name_is_refused_with_the_reason(pattern: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TABLE.with_extra({pattern: "acme"})


def test_an_extra_host_needs_a_plain_provider_name() -> None:
    with pytest.raises(ConfigError, match="provider 'A B'"):
        TABLE.with_extra({"llm.example.com": "A B"})


def test_the_memory_of_seen_names_is_bounded() -> None:
    table = HostTable([("api.openai.com", KnownHost("openai", intercept=True))])
    for number in range(2 * CACHED_HOSTS):
        assert table.find(f"host{number}.example.com") is None
    assert table._cached.cache_info().currsize == CACHED_HOSTS


@given(st.text(max_size=300))
def test_any_text_at_all_is_answered(text: str) -> None:
    known = TABLE.find(text)
    assert known is None or bare_name(text) is not None


@given(st.from_regex(r"[a-z0-9-]{1,20}(\.[a-z0-9-]{1,20}){0,3}", fullmatch=True), st.sampled_from(TABLE.permitted_names()))
def test_a_name_that_only_ends_like_a_known_one_is_not_opened(prefix: str, name: str) -> None:
    assert not TABLE.intercepts(f"{prefix}{name}") or any(
        f"{prefix}{name}" == other or f"{prefix}{name}".endswith(f".{other}") for other in TABLE.permitted_names()
    )


@given(st.sampled_from(TABLE.permitted_names()), st.sampled_from(["", "x.", "a.b."]))
def test_whatever_is_opened_can_be_certified(name: str, prefix: str) -> None:
    host = prefix + name
    if TABLE.intercepts(host):
        assert any(host == other or host.endswith(f".{other}") for other in TABLE.permitted_names())


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not here")
def test_every_recorded_host_has_the_provider_of_its_recording() -> None:
    seen: set[tuple[str, str]] = set()
    with gzip.open(RECORDINGS, "rt") as lines:
        for line in lines:
            exchange = json.loads(line)
            seen.add((urlsplit(exchange["url"]).hostname or "", exchange["provider"]))
    public = {(host, provider) for host, provider in seen if host not in {"localhost", "127.0.0.1"}}
    wrong = {(host, provider, TABLE.provider_of(host)) for host, provider in public if TABLE.provider_of(host) != provider}
    assert len(public) > 20
    assert not wrong


def test_a_host_that_is_never_opened_says_why() -> None:
    for pattern, known in TABLE._entries():
        assert bool(known.reason) is not known.intercept, pattern
    assert "no usage" in (TABLE.find("api2.cursor.sh") or KnownHost("", intercept=True)).reason
