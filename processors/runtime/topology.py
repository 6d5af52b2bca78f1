"""Where a bus lives: on one server, on a Redis Cluster, or on the server that Sentinel says is the master."""

import re
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from processors.runtime.probes import address

__all__ = ["Topology", "read_topology"]

# urllib's newer releases refuse several hosts if one is an IPv6 address.
_PARTS: Final = re.compile(r"([^:/?#+]*)\+([^:/?#]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL)
_DEFAULT_PORTS: Final = {"server": 6379, "cluster": 6379, "sentinel": 26_379}
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/\s]+)(?::([0-9]{1,5}))?")


class Topology(NamedTuple):
    """An address, taken apart."""

    kind: Literal["server", "cluster", "sentinel"]
    # The same for one server, redis-py's way: user, password, database, and options.
    url: str
    # Nodes of the cluster to ask first, or the sentinels.
    hosts: tuple[tuple[str, int], ...]
    # Name of the master that the sentinels watch; "" without them.
    master: str = ""


def read_topology(url: str) -> Topology:
    """The topology in an address of a bus.

    One server is `redis://`, `rediss://` or `unix://`. A cluster is `redis+cluster://[user:password@]host[:port],...`.
    Sentinel is `redis+sentinel://[user:password@]host[:port],.../master[/database]`, where user and password are the
    servers'. `rediss+` instead of `redis+` is TLS. Raises ValueError: if it is none of these; the text is a clause.
    """
    parts = _PARTS.fullmatch(url)
    if parts is None:
        urlsplit(url)
        return Topology("server", url, ())
    scheme, kind, netloc, tail, query = parts.groups(default="")
    if scheme not in {"redis", "rediss"} or kind not in {"cluster", "sentinel"}:
        raise ValueError("must begin with redis://, rediss://, unix://, redis+cluster:// or redis+sentinel://")
    user, at, places = netloc.rpartition("@")
    hosts = tuple(_host(place, _DEFAULT_PORTS[kind]) for place in places.split(","))
    path = tail.strip("/").split("/")
    user_at_host = f"{user}{at}{address(*hosts[0])}"
    if kind == "cluster":
        if path not in ([""], ["0"]):
            raise ValueError("must not name a database: a cluster has one only")
        return Topology("cluster", urlunsplit((scheme, user_at_host, "", query, "")), hosts)
    if not path[0] or len(path) > 2 or not re.fullmatch("[0-9]{0,9}", "".join(path[1:])):
        raise ValueError("must name a master, such as redis+sentinel://host:26379/mymaster/0")
    database = "/" + "".join(path[1:])
    one = urlunsplit((scheme, user_at_host, database, query, ""))
    return Topology("sentinel", one, hosts, path[0])


def _host(text: str, port: int) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    if found is None:
        raise ValueError("must name hosts as host:port,host:port")
    number = int(found[2] or port)
    if not 0 < number < 65_536:
        raise ValueError("has a port that is not a number between 1 and 65535")
    return found[1].strip("[]"), number
