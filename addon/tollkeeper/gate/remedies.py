"""What makes a program trust the proxy: by the name of its process, the variable that its runtime reads (docs/gate.md, measured)."""

from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True, slots=True)
class Remedy:
    """``variable`` names a file of certificates; ``adds``: to the runtime's own (our root is enough), else instead of them (the bundle).

    ``also`` is read by another library of the same runtime; ``command`` is what to run where no variable helps.
    """

    variable: str = ""
    adds: bool = False
    also: str = ""
    command: str = ""

    @property
    def told(self) -> str:
        """In a line for people: the variables by name."""
        return " and ".join(filter(None, (self.variable, self.also))) or "its own trust store"

    def paste(self, bundle: object, root: object) -> str:
        """The command that mends it in a shell. ``bundle`` and ``root`` are the files of the proxy's CA."""
        if self.command:
            return self.command.format(root=root)
        file = root if self.adds else bundle
        return "export " + " ".join(f"{name}='{file}'" for name in (self.variable, self.also) if name)


_NODE = Remedy("NODE_EXTRA_CA_CERTS", adds=True)
_PYTHON = Remedy("SSL_CERT_FILE", also="REQUESTS_CA_BUNDLE")
"""httpx, aiohttp and ssl read the first, requests the second."""
_BY_NAME = {
    **dict.fromkeys(("node", "nodejs", "npm", "npx", "bun", "bunx", "claude", "gemini", "opencode", "copilot", "cursor", "code"), _NODE),
    "deno": Remedy("DENO_CERT", adds=True),
    **dict.fromkeys(("python", "pypy", "aider", "llm", "litellm", "uv", "uvx"), _PYTHON),
    "pip": Remedy("PIP_CERT"),
    "codex": Remedy("CODEX_CA_CERTIFICATE"),
    "curl": Remedy("CURL_CA_BUNDLE"),
    "git": Remedy("GIT_SSL_CAINFO"),
    "aws": Remedy("AWS_CA_BUNDLE"),
    "cargo": Remedy("CARGO_HTTP_CAINFO"),
    "java": Remedy(command="keytool -importcert -cacerts -storepass changeit -noprompt -alias tollkeeper -file '{root}'"),
}  # fmt: skip
ANY = Remedy("SSL_CERT_FILE")
"""OpenSSL, Go and Rust programs read it."""


def remedy_for(process: str) -> Remedy:
    """By the program's name, versions left out (``python3.12``); else what most read."""
    return _BY_NAME.get(PurePath(process).name.lower().rstrip("0123456789."), ANY)
