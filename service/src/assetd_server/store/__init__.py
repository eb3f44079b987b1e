"""The store: the truth about assets, on another machine.

Knows neither the cache nor the wire, and reads no environment variable.
"""
