"""The command line: a file per command, named as the command is; `app` joins them, `terminal` is what they share."""
