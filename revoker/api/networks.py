"""Networks that are trusted to say something."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope


class Networks:
    """A few of them."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(one) for one in networks)
        self.hold = lru_cache(maxsize=4_096)(self._hold)
        """Whether an address is in one of them; text that is no address is in none."""

    def __bool__(self) -> bool:
        return bool(self._networks)

    def origin(self, peer: str, forwarded: str) -> str:
        """Where a request came from: the last address of X-Forwarded-For that is not a trusted proxy's own."""
        hops = [hop.strip() for hop in forwarded.split(",")] if self.hold(peer) and forwarded else []
        return next((hop for hop in reversed(hops) if _is_address(hop) and not self.hold(hop)), peer)

    def client(self, scope: Scope) -> str | None:
        """The address that a request of that scope came from; None: it is not known."""
        peer = scope.get("client")
        if peer is None:
            return None
        told = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
        try:
            return str(ip_address(self.origin(peer[0], ", ".join(told))))
        except ValueError:
            return None

    def _hold(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return any((mapped or address) in network for network in self._networks)


def _is_address(text: str) -> bool:
    try:
        return bool(ip_address(text))
    except ValueError:
        return False
