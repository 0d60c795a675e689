"""Commands that join the engine's: a file per command, named as the command is."""
