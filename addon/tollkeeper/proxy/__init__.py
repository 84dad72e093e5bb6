"""mitmproxy events to stages and back. The only room that imports mitmproxy."""
