"""The same service as ``twistd relay``, configured by RELAY_CONFIG and RELAY_*: ``twistd -ny relay.tac``."""

from twisted.application.service import Application

from relay.tap import Options, makeService

application = Application("relay")
makeService(Options()).setServiceParent(application)
