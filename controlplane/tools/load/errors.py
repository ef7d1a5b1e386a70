"""Why load cannot be sent, or what is beside it cannot be seen."""


class LoadError(Exception):
    """The text is one sentence for whoever asked for it."""
