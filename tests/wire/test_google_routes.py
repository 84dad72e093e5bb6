"""What Google's hosts serve: read, free, or recorded as unmetered with the reason."""

import pytest

from tollkeeper.core.call import Metering
from tollkeeper.wire.routes import endpoint_for

P = "/v1/projects/p/locations/us-central1"
V = P + "/publishers/google/models/"
WS = "/ws/google.ai.generativelanguage.v1beta.GenerativeService."
READ = [
    ("gemini", "POST", "/v1beta/interactions", "chat", "gemini-interactions", None),
    ("gemini", "GET", "/v1beta/interactions/v1_x", "retrieve", "gemini-interactions", None),
    ("gemini", "POST", "/v1beta/interactions/v1_x/cancel", "retrieve", "gemini-interactions", None),
    ("vertex", "POST", "/v1beta1/projects/p/locations/global/interactions", "chat", "gemini-interactions", None),
    ("vertex", "GET", "/v1beta1/projects/p/locations/global/interactions/i:poll", "retrieve", "gemini-interactions", None),
    ("gemini", "POST", "/v1beta/models/gemini-embedding-001:embedContent", "embeddings", "gemini-embed", "gemini-embedding-001"),
    ("vertex", "POST", P + "/publishers/google/models/text-embedding-005:predict", "embeddings", "gemini-embed", "text-embedding-005"),
    ("vertex", "POST", P + "/publishers/google/models/gemini-embedding-2:embedContent", "embeddings", "gemini-embed", "gemini-embedding-2"),
    ("gemini", "POST", "/v1beta/models/imagen-4.0-generate-001:predict", "image_generation", "gemini-predict", "imagen-4.0-generate-001"),
    ("vertex", "POST", V + "veo-3.1-generate-001:predictLongRunning", "video", "gemini-predict", "veo-3.1-generate-001"),
    ("vertex", "POST", P + "/publishers/google/models/lyria-002:predict", "speech", "gemini-predict", "lyria-002"),
    ("vertex", "POST", P + "/publishers/ai21/models/jamba-1.5-large@001:rawPredict", "chat", "openai-chat", "jamba-1.5-large@001"),
    ("vertex", "POST", P + "/publishers/mistralai/models/mistral-medium-3:streamRawPredict", "chat", "openai-chat", "mistral-medium-3"),
    ("vertex", "POST", P + "/publishers/anthropic/models/claude-opus-5:rawPredict", "chat", "anthropic-messages", "claude-opus-5"),
    ("vertex", "POST", P + "/endpoints/openapi/chat/completions", "chat", "openai-chat", None),
    ("vertex", "POST", P + "/endpoints/1234567890:generateContent", "generate_content", "gemini-generate", "1234567890"),
    ("gemini", "POST", "/v1beta/openai/embeddings", "embeddings", "openai-chat", None),
    ("gemini", "POST", "/v1beta/openai/images/generations", "image_generation", "openai-images", None),
    ("gemini", "WEBSOCKET", WS + "BidiGenerateContent", "realtime", "gemini-live", None),
    ("vertex", "WEBSOCKET", "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent", "realtime", "gemini-live", None),
    ("code-assist", "POST", "/v1internal:generateContent", "generate_content", "gemini-generate", None),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "method", "path", "operation", "dialect", "model"), READ)
def test_what_google_serves_is_read(
    provider: str, method: str, path: str, operation: str, dialect: str, model: str | None
) -> None:
    found = endpoint_for(provider, "h", method, path)
    assert (found.metering, found.operation, found.dialect, found.model_in_path) == (Metering.METERED, operation, dialect, model)


@pytest.mark.parametrize(
    ("provider", "method", "path"),
    [
        ("gemini", "POST", "/v1beta/models/g:countTokens"),
        ("vertex", "POST", P + "/publishers/google/models/g:computeTokens"),
        ("vertex", "POST", P + "/publishers/google/models/veo-3.1-generate-001:fetchPredictOperation"),
        ("gemini", "GET", "/v1beta/cachedContents/c"),
        ("gemini", "DELETE", "/v1beta/cachedContents/c"),
        ("gemini", "POST", "/v1beta/fileSearchStores"),
        ("gemini", "POST", "/v1alpha/auth_tokens"),
        ("gemini", "GET", "/v1beta/models?pageSize=5"),
        ("code-assist", "POST", "/v1internal:countTokens"),
        ("code-assist", "POST", "/v1internal:loadCodeAssist"),
        ("code-assist", "POST", "/v1internal:recordCodeAssistMetrics"),
    ],
)
def test_what_google_does_not_bill_is_free(provider: str, method: str, path: str) -> None:
    assert endpoint_for(provider, "h", method, path).metering is Metering.FREE


@pytest.mark.parametrize(
    ("provider", "method", "path", "word"),
    [
        ("vertex", "POST", P + "/endpoints/123:predict", "hour"),
        ("vertex", "POST", P + "/endpoints/123:rawPredict", "hour"),
        ("vertex", "POST", P + "/endpoints/123/chat/completions", "hour"),
        ("vertex", "POST", P + "/publishers/mistralai/models/mistral-ocr-2505:rawPredict", "page"),
        ("vertex", "POST", P + "/publishers/google/models/text-bison:predict", "predictions"),
        ("vertex", "POST", P + "/batchPredictionJobs", "batch"),
        ("vertex", "POST", P + "/reasoningEngines/1:streamQuery", "agent"),
        ("gemini", "POST", "/v1beta/cachedContents", "hour"),
        ("gemini", "PATCH", "/v1beta/cachedContents/c", "hour"),
        ("gemini", "POST", "/v1beta/fileSearchStores/s:uploadToFileSearchStore", "embeds"),
        ("gemini", "WEBSOCKET", "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateMusic", "music"),
        ("code-assist", "POST", "/v1internal:completeCode", "plan"),
    ],
)
def test_what_cannot_be_read_is_unmetered_with_the_reason(provider: str, method: str, path: str, word: str) -> None:
    found = endpoint_for(provider, "h", method, path)
    assert found.metering is Metering.UNMETERED
    assert word in found.reason
