"""Commands: a file per command, named as the command is."""
