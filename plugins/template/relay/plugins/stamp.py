"""What the relay finds: a description, quick to import. The code is imported when the plugin is used."""

from twisted.plugin import IPlugin
from zope.interface import implementer

from relay.extensions import IMessageFilterPlugin, Settings
from relay.kinds import several, text


@implementer(IPlugin, IMessageFilterPlugin)
class Stamp:
    name = "stamp"
    version = "1.0"
    description = "stamps every message, and closes some agents"

    def read(self, settings):
        table = Settings(settings)
        word = table.take("word", text("[a-z]{1,20}", "a word of 1 to 20 letters from a to z"))
        closed = table.take("closed", several(text("[!-~]+", ""), "ids of agents"), ())
        table.done()
        return word, frozenset(closed)

    def filter(self, settings, relay):
        from relay_stamp import Filter

        return Filter(*settings)


stamp = Stamp()
