"""Where third parties put their plugins: any ``relay/plugins`` folder on the path, without an ``__init__.py``."""

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
__all__: list[str] = []
