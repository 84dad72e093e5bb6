"""Options that nobody may weaken."""

import asyncio

import pytest
from mitmproxy import exceptions
from mitmproxy.addons import core, next_layer, proxyserver, tlsconfig
from mitmproxy.options import Options

from tollkeeper.proxy.dispatch import SidecarMaster
from tollkeeper.proxy.options import LOCKED, OptionsGuard, compromised, weakened


def master_with_locked_options() -> SidecarMaster:
    master = SidecarMaster(Options())
    master.addons.add(core.Core(), proxyserver.Proxyserver(), next_layer.NextLayer(), tlsconfig.TlsConfig())
    master.options.update(**LOCKED)
    master.addons.add(OptionsGuard())
    return master


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stream_large_bodies", "1m"),
        ("http2", True),
        ("connection_strategy", "eager"),
        ("ssl_insecure", True),
        ("tcp_timeout", 600),
        ("store_streamed_bodies", True),
        ("upstream_cert", True),
        ("validate_inbound_headers", False),
    ],
)
def test_weakening_an_option_is_refused_and_undone(name: str, value: object) -> None:
    async def scenario() -> None:
        master = master_with_locked_options()
        with pytest.raises(exceptions.OptionsError, match=name):
            master.options.update(**{name: value})
        assert getattr(master.options, name) == LOCKED[name]

    asyncio.run(scenario())


def test_an_option_that_signs_with_a_leaked_public_ca_is_refused() -> None:
    options = Options()
    options.add_option("emudhra", bool, False, "as mitmproxy 12.3 has it")
    assert compromised(options) is None
    options.update(emudhra=True)
    assert "emudhra" in (weakened(options) or "")
