"""Who may do what: the providers of grants, and the checkpoint that the doors and the floor ask."""
