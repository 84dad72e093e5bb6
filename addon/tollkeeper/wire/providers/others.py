"""Providers with a shape of their own."""

from tollkeeper.wire.row import COUNTING, RETRIEVE, Provider, Row, all_blind, blind, free, read
from tollkeeper.wire.traits import COST_IN_HEADER, USAGE_ASKABLE, USAGE_UNASKED

_COHERE = (
    read("POST", r"/v[12]/chat", "chat", "cohere"),
    read("POST", r"/v1/(?:generate|summarize)", "text_completion", "cohere"),
    read("POST", r"/v[12]/embed", "embeddings", "cohere"),
    read("POST", r"/v[12]/rerank", "rerank", "cohere"),
    read("POST", r"/v[12]/classify", "classify", "cohere"),
    free("POST", r"/v[12]/(?:tokenize|detokenize)", COUNTING, "count_tokens"),
    free("POST", r"/v[12]/(?:check-api-key|datasets(?:/.*)?|connectors(?:/.*)?)"),
    blind(
        "POST", r"/v[12]/embed-jobs", "batch", "a job of embeddings: its result, and what it is billed by, comes as a data set"
    ),
    free("GET", r"/v[12]/.*", "a status or a list"),
)

_REPLICATE = (
    read("POST", r".*/(?:models|deployments)/(?P<model>[^/]+/[^/]+)/predictions", "predict", "replicate"),
    read("POST", r"(?:/v1)?/predictions", "predict", "replicate"),
    free("POST", r".*/predictions/[^/]+/cancel", "what had run by then stands in the prediction"),
    read("GET", r"(?:/v1)?/predictions/[^/]+", RETRIEVE, "replicate"),
    blind("POST", r".*/trainings", "fine_tuning", "training is billed by the second of its hardware, apart from any answer"),
    free("GET", r".*", "a status or a list"),
)

_WATSONX = (
    read("POST", r"/ml/.*/text/(?:chat|chat_stream)", "chat", "watsonx"),
    read("POST", r"/ml/.*/text/(?:generation|generation_stream)", "text_completion", "watsonx"),
    read("POST", r"/ml/v1-beta/generation/(?:text|text_stream)", "text_completion", "watsonx"),
    read("POST", r"/ml/.*/text/embeddings", "embeddings", "watsonx"),
    read("POST", r"/ml/.*/text/rerank", "rerank", "watsonx"),
    free("POST", r"/ml/.*/text/tokenization", COUNTING, "count_tokens"),
    blind("POST", r"/ml/.*/time_series/.*", "predict", "forecasts are billed by data points, which no answer states"),
    blind("POST", r"/ml/.*/(?:text|generation|audio|image)/.*", "other", "this task of watsonx.ai states no usage"),
    free(
        "GET",
        r"/ml/(?:v\d[^/]*/)?(?:foundation_model_specs|foundation_model_tasks|deployments|instances)(?:/.*)?",
        "a list of models",
    ),
)

OLLAMA: tuple[Row, ...] = (
    read("POST", r"/api/chat", "chat", "ollama"),
    read("POST", r"/api/generate", "text_completion", "ollama"),
    read("POST", r"/api/(?:embed|embeddings)", "embeddings", "ollama"),
    blind("POST", r"/api/(?:web_search|web_fetch)", "other", "searches of ollama.com are part of a plan"),
    free("POST HEAD", r"/api/.*"),
    free("GET", r"/api/(?:tags|ps|version|show|me)"),
)

_SERVERS: tuple[Row, ...] = (
    *OLLAMA,
    read("POST", r"/(?:completion|infill)", "text_completion", "stated-counts"),
    read("POST", r"(?:/generate|/generate_stream|/)", "text_completion", "stated-counts"),
    free("POST", r"/(?:tokenize|detokenize|apply-template|slots(?:/.*)?|lora-adapters)", COUNTING, "count_tokens"),
    free("GET", r"/(?:props|slots|metrics|info|ping|load|server_info|v1/.*|api/v\d/.*)"),
)
"""What model servers of one's own speak besides OpenAI's shape: Ollama, llama.cpp, text-generation-inference."""

_SNOWFLAKE = (
    read("POST", r"/api/v2/cortex/inference[:/]complete", "chat", "openai-chat"),
    read("POST", r"/api/v2/cortex/inference[:/]embed", "embeddings", "openai-chat"),
    blind("POST", r"/api/v2/.*(?:agent|analyst|cortex-search).*", "chat", "Cortex agents, Analyst and Search state no usage"),
    blind("POST", r"/api/v2/statements.*", "other", "SQL may call AI functions: they are billed by Snowflake and not seen here"),
    free("*", r"/(?!api/v2/cortex/).*", "not a model call; AI functions inside SQL are billed by Snowflake and not seen here"),
)

_DATABRICKS = (
    read("POST", r"/serving-endpoints/(?P<model>[^/]+)/invocations", "chat", "openai-chat"),
    read("POST", r"/(?:serving-endpoints|ai-gateway/mlflow/v1|ai-gateway/openai/v1)/chat/completions", "chat", "openai-chat"),
    free("*", r"/(?!serving-endpoints/|ai-gateway/).*"),
)

_HUGGINGFACE = (
    blind(
        "POST",
        r"/hf-inference/.*|/models/.*|/pipeline/.*",
        "other",
        "Hugging Face's own inference is billed by computing time, which no answer states",
    ),
    blind("POST", r"/(?:generate(?:_stream)?)?", "other", "a dedicated endpoint is priced by the hour"),
)

_DEEPINFRA = (read("POST", r"/v1/inference/(?P<model>.+)", "predict", "stated-counts"),)

_ALEPH_ALPHA = (
    read("POST", r"/(?:complete|evaluate|summarize|qa|explain)", "text_completion", "stated-counts"),
    read("POST", r"/(?:embed|semantic_embed|batch_semantic_embed|instructable_embed)", "embeddings", "stated-counts"),
    free("POST", r"/(?:tokenize|detokenize)", COUNTING, "count_tokens"),
)

PROVIDERS = (
    Provider(name="cohere", rows=_COHERE),
    Provider(name="replicate", rows=_REPLICATE),
    Provider(name="watsonx", rows=_WATSONX),
    Provider(name="ollama", rows=OLLAMA, usage=USAGE_ASKABLE),
    # Servers of one's own, added as extra hosts under one of these names (docs/gate.md): priced at nothing until an overlay says else.
    Provider(name="local", rows=_SERVERS, usage=USAGE_ASKABLE, traits=frozenset({COST_IN_HEADER})),
    Provider(name="vllm", rows=_SERVERS, usage=USAGE_ASKABLE),
    Provider(name="llama-cpp", rows=_SERVERS, usage=USAGE_ASKABLE),
    Provider(name="lm-studio", rows=_SERVERS, usage=USAGE_ASKABLE),
    Provider(name="snowflake", rows=_SNOWFLAKE, usage=USAGE_UNASKED),
    Provider(name="databricks", rows=_DATABRICKS),
    Provider(name="huggingface", rows=_HUGGINGFACE),
    Provider(name="deepinfra", rows=_DEEPINFRA, usage=USAGE_ASKABLE),
    Provider(name="aleph-alpha", rows=_ALEPH_ALPHA),
    Provider(name="deepgram", rows=all_blind("priced by the second of audio, which its answers do not bill by call")),
    Provider(name="elevenlabs", rows=all_blind("priced by the character and the second, in credits of a plan")),
    Provider(name="cursor", rows=all_blind("Cursor's protocol is not readable: no usage passes here")),
)
