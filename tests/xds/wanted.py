"""What a client of the model wants and holds of one type."""

from dataclasses import dataclass, field

WILDCARD = "*"


@dataclass
class Type:
    """What the client knows of one type; what it wants and holds outlives a stream.

    Attributes:
        names: Wanted by name, the wildcard included.
        legacy: Whether it wants everything because it never named anything.
        held: Content and version by name.
        kept: Content that was refused, and what was held then, by name.
        known: Whether a response was accepted on this stream, so that the server knows all of it.
        accepted: Version of the last response that was accepted.
        partial: Whether part of a refused response was taken since.
        doubted: Whether the server may not know what was taken of a refused response.
        applied: When each was last applied and differed from what was held.
        heard: When each was last mentioned in a response.
    """

    names: set[str] = field(default_factory=set)
    legacy: bool = False
    held: dict[str, tuple[str, str]] = field(default_factory=dict)
    kept: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    known: bool = False
    accepted: str = ""
    partial: bool = False
    doubted: bool = False
    applied: dict[str, int] = field(default_factory=dict)
    heard: dict[str, int] = field(default_factory=dict)

    @property
    def wildcard(self) -> bool:
        return self.legacy or WILDCARD in self.names

    @property
    def everything(self) -> set[str]:
        """All that it wants now."""
        return self.names | ({WILDCARD} if self.legacy else set())

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def keep(self, name: str, content: str) -> None:
        """Refuse a content, and keep what is held."""
        if not self.kept_from(name, content):
            self.kept[name] = content, self.held[name][0] if name in self.held else None

    def kept_from(self, name: str, content: str) -> bool:
        """Whether it is this content that was refused."""
        return name in self.kept and self.kept[name][0] == content

    def forget_unwanted(self) -> None:
        for kind in (self.held, self.kept, self.applied, self.heard):
            for name in [item for item in kind if not self.wants(item)]:
                del kind[name]
