"""Everything Tollkeeper raises on purpose.

TollkeeperError
├── ConfigError        a file or option is wrong: says file, line, value and the nearest known name
├── WireError          bytes from outside are not what they claim, or exceed a bound
├── PriceError         price data is damaged or inconsistent
├── LedgerError        the ledger cannot be opened, read or written
│   └── LedgerDamaged  rows contradict the chain or the balances
├── GateError          the CA or the listener cannot be set up safely
└── SetupError         this machine lacks something; says what to do
"""


class TollkeeperError(Exception):
    """Base of the tree. The message says what happened, the values, and what to do."""

    exit_code = 1


class ConfigError(TollkeeperError):
    """A policy, overlay or option that cannot be used as it stands."""

    exit_code = 2


class WireError(TollkeeperError):
    """Outside bytes that break a framing or pass a limit."""


class PriceError(TollkeeperError):
    """Price data that cannot be trusted."""


class LedgerError(TollkeeperError):
    """The ledger refuses or fails."""

    exit_code = 5


class LedgerDamaged(LedgerError):
    """The ledger's own evidence says that rows were lost or changed."""


class GateError(TollkeeperError):
    """The door cannot be opened safely."""

    exit_code = 3


class SetupError(TollkeeperError):
    """The machine is not ready."""

    exit_code = 3
