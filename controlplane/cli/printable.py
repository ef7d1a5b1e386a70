"""Texts from elsewhere, made harmless for a terminal."""


def printable(text: str) -> str:
    """A text without what a terminal would take for a command."""
    return "".join(character if character.isprintable() else "�" for character in text)
