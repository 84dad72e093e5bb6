"""Making a request fit another model: what it may not be asked is translated or dropped, and nothing else is touched.

Pure: a request in, a request and notes out. Sources of the rules stand beside their tables.
"""
