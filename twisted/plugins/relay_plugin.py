"""Makes ``twistd relay`` known. It imports nothing of ours, since every start of any twistd reads it."""

from twisted.application.service import ServiceMaker

relay = ServiceMaker("relay", "relay.tap", "Gets a message to a program which nobody can reach", "relay")
