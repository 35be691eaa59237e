"""Programs of others that plugins are tested against: each a process of the tests' own, and mortal."""
