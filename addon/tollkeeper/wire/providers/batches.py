"""Paths of batches, background work and what is read again: submissions, and the answers that state what they used."""

from tollkeeper.wire.row import BATCH, RESPONSES, RETRIEVE, UPLOAD, Row, free, read

OPENAI_BATCH, OPENAI_RESULTS, RUNS = "openai-batch", "openai-batch-results", "openai-runs"
ANTHROPIC_BATCH, ANTHROPIC_RESULTS = "anthropic-batch", "anthropic-batch-results"
GEMINI_BATCH, GEMINI_RESULTS = "gemini-batch", "gemini-batch-results"
FILE = "batch-file"

BATCHES: tuple[Row, ...] = (
    read("POST", r".*/responses/[^/]+/cancel", RETRIEVE, RESPONSES),
    read("GET", r".*/responses/[^/]+", RETRIEVE, RESPONSES),
    read("POST", r".*/messages/batches", BATCH, ANTHROPIC_BATCH),
    read("GET", r".*/messages/batches/[^/]+/results", RETRIEVE, ANTHROPIC_RESULTS),
    free("GET POST", r".*/messages/batches/.*", "the state of a batch"),
    read("POST", r".*/(?:batches|batch/jobs)", BATCH, OPENAI_BATCH),
    read("GET", r".*/(?:batches|batch/jobs)/[^/:]+", RETRIEVE, OPENAI_BATCH),
    read("GET", r".*/batches/[^/:]+/(?:results|output)", RETRIEVE, OPENAI_RESULTS),
    read("POST", r".*/(?:batches|batch/jobs)/[^/:]+/cancel", RETRIEVE, OPENAI_BATCH),
    read("GET", r".*/files/[^/]+/content", RETRIEVE, OPENAI_RESULTS),
    read("POST", r".*/(?:files|files/upload)", UPLOAD, FILE),
)

GEMINI_BATCHES: tuple[Row, ...] = (
    read("POST", r".*/models/(?P<model>[^/:]+):batchGenerateContent", BATCH, GEMINI_BATCH),
    read("GET", r"/v\d\w*/batches/[^/:]+", RETRIEVE, GEMINI_BATCH),
    read("GET", r"(?:/download)?/v\d\w*/files/[^/:]+:download", RETRIEVE, GEMINI_RESULTS),
    read("POST", r"/upload/v\d\w*/files", UPLOAD, FILE),
)

ASSISTANTS: tuple[Row, ...] = (
    read("POST", r"(?:.*/v1|/openai)/threads(?:/[^/]+)?/runs", "chat", RUNS),
    read("POST", r"(?:.*/v1|/openai)/threads/[^/]+/runs/[^/]+/submit_tool_outputs", "chat", RUNS),
    read("GET", r"(?:.*/v1|/openai)/threads/[^/]+/runs/[^/]+", RETRIEVE, RUNS),
    read("POST", r"(?:.*/v1|/openai)/threads/[^/]+/runs/[^/]+/cancel", RETRIEVE, RUNS),
)
