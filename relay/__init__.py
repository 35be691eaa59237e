"""relay: gets a message to a program which nobody can reach."""

__version__ = "0.1.0"
