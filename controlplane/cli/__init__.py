"""The command line: argv in, an exit code out. One file per command, loaded when it is called."""
