"""The HTTP side port: metrics, health and the status page.

Reads the state of the service and never changes it.
"""
