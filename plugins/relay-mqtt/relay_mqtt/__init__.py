"""A plugin of the relay: a tree of MQTT topics and the relay's agents, bridged both ways."""

__version__ = "0.1.0"
