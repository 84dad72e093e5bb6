"""What providers and clients say on the wire, as pure functions: no I/O, no clock, no mitmproxy."""
