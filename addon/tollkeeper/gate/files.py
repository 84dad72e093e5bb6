"""Names of the files in the CA's folder, apart so that ``tollkeeper env`` knows them without loading cryptography (60 ms)."""

SIGNING = "mitmproxy-ca.pem"
"""In a generation: key and chain, read by mitmproxy's ``CertStore`` from its ``confdir``."""

ROOT_CERTIFICATE = "root.pem"
"""In a generation, its root. In the folder above, the roots of all generations: what clients are told to trust."""

BUNDLE = "bundle.pem"
"""System roots, the user's own and ours: for variables that replace a client's store."""
