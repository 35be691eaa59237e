"""The rules: words, frames, tables and decisions. No Twisted, no I/O, no clock (time is an argument)."""
