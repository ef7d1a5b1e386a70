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

    def forget_unwanted(self) -> None:
        for kind in (self.held, self.kept, self.applied, self.heard):
            for name in [it for it in kind if not self.wants(it)]:
                del kind[name]
