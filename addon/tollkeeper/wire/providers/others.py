"""Providers with a shape of their own."""

from tollkeeper.wire.row import LATER, Provider, all_blind, blind, free
from tollkeeper.wire.traits import USAGE_ASKABLE

_COHERE = blind("POST", r"/v[12]/(?:chat|generate|embed|classify|summarize|rerank|parse)", "chat", f"Cohere: {LATER}")
_REPLICATE = blind(
    "POST", r".*/predictions", "predict", "Replicate bills by the second, stated only when the prediction is polled"
)
_WATSONX = blind("POST", r"/ml/.*/(?:text|generation)/.*", "chat", f"watsonx: {LATER}")
_OLLAMA = (
    blind("POST", r"/api/(?:chat|generate|embed|embeddings)", "chat", f"Ollama's own API: {LATER}"),
    free("POST", r"/api/.*"),
)

PROVIDERS = (
    Provider(name="cohere", rows=(_COHERE,)),
    Provider(name="replicate", rows=(_REPLICATE,)),
    Provider(name="watsonx", rows=(_WATSONX,)),
    Provider(name="ollama", rows=_OLLAMA, usage=USAGE_ASKABLE),
    Provider(name="deepgram", rows=all_blind("priced by the second of audio")),
    Provider(name="elevenlabs", rows=all_blind("priced by the character")),
    Provider(name="cursor", rows=all_blind("Cursor's protocol is not readable: no usage passes here")),
    Provider(name="aleph-alpha", rows=all_blind(LATER)),
)
