"""A plugin of the relay: patterns that no message may carry are replaced in it, or the message is refused."""

__version__ = "0.1.0"
