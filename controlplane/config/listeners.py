"""Where Envoys listen: no replica may be there, or each request would come back to its Envoy."""

from collections.abc import Iterable

from controlplane.config.values import Address


class Listeners:
    """Addresses that Envoys listen on, and what for."""

    def __init__(self, listeners: Iterable[tuple[Address, str]] = ()) -> None:
        """Begin with these.

        Args:
            listeners: Each with the words that say whose it is, as in "pool 'a'".
        """
        self._by_port: dict[int, dict[Address, str]] = {}
        for address, whose in listeners:
            self.add(address, whose)

    def add(self, address: Address, whose: str) -> None:
        """Add one, in place of another one at the same address."""
        self._by_port.setdefault(address.port, {})[address] = whose

    def discard(self, address: Address) -> None:
        """Forget the one at an address."""
        known = self._by_port.get(address.port, {})
        known.pop(address, None)
        if not known:
            self._by_port.pop(address.port, None)

    def refusal(self, replica: Address) -> str | None:
        """Say why no replica is at an address.

        A listener on all addresses of a machine has each of loopback. Which others are of an
        Envoy's machine nobody here knows.

        Returns:
            A sentence; None where no Envoy listens there, as far as is known.
        """
        # Hardly any replica has the port of a listener.
        if (known := self._by_port.get(replica.port)) is None:
            return None
        for address, whose in known.items():
            ip = address.ip
            is_any = ip is not None and ip.is_unspecified and replica.is_loopback
            if address == replica or is_any:
                where = "" if address == replica else f", on {address}"
                return (
                    f"{replica} is where an Envoy listens for {whose}{where}: requests to a"
                    " replica there would come back for ever"
                )
        return None
