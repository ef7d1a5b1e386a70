"""The command line: argv in, an exit code out. Commands are loaded when they are called."""
