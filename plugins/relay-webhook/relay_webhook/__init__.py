"""A plugin of the relay: what becomes of messages is posted to a URL, in signed batches."""

__version__ = "0.1.0"
