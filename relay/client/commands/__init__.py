"""The commands of ``relay``, one a module. They print, and know nothing of a global reactor."""
